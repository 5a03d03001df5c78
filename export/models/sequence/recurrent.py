"""Shared by RNN, LSTM and GRU: layers of cells along the sequence, and a codec.

The cells are in ``rnn.py``, ``lstm.py`` and ``gru.py``. Their parameters have torch.nn's names and
shapes, so torch's fused layers can use the same weights.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from export.models.sequence.sequence import SequenceNetwork, State, StateTensor, make_codec


class CellWeights(NamedTuple):
    """The parameters of one layer; the rows of its gates are concatenated."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


class RecurrentLayers(nn.Module):
    """Layers of one kind of cell; each takes the outputs of the layer below at every time step.

    ``x [N, T, input_size], state -> [N, T, hidden_size] of the last layer, state``; the state is
    one tensor ``[N, num_layers, hidden_size]`` for each of ``state_names``.
    """

    fused_type: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]
    """The same layers in torch.nn."""
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        for name, parameter in self._torch_layers().named_parameters():
            self.register_parameter(name, parameter)

    def _torch_layers(self) -> nn.RNNBase:
        return self.fused_type(self.input_size, self.hidden_size, self.num_layers, batch_first=True)

    def fused(self) -> nn.RNNBase:
        """torch.nn's layers with the same parameters, not copies; they train faster."""
        layers = self._torch_layers()
        for name, parameter in self.named_parameters():
            setattr(layers, name, parameter)
        return layers

    def weights(self, layer: int) -> CellWeights:
        """The parameters of a layer, counted from 0."""
        return CellWeights(*(getattr(self, f"{name}_l{layer}") for name in CellWeights._fields))

    def cell(self, x: Tensor, state: State, weights: CellWeights) -> State:
        """One time step of one layer.

        Args:
            x: ``[N, input_size]``, or of a higher layer ``[N, hidden_size]``.
            state: ``[N, hidden_size]`` each; the first is the layer's output.
            weights: of the layer.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run T time steps, from zeros if there is no state."""
        if state is None:
            zeros = x.new_zeros(len(x), self.num_layers, self.hidden_size)
            state = (zeros,) * len(self.state_names)
        after: list[State] = []
        for layer in range(self.num_layers):
            weights = self.weights(layer)
            current = tuple(part[:, layer] for part in state)
            said: list[Tensor] = []
            for x_t in x.unbind(1):
                current = self.cell(x_t, current, weights)
                said.append(current[0])
            x = torch.stack(said, dim=1)
            after.append(current)
        return x, tuple(torch.stack(parts, dim=1) for parts in zip(*after, strict=True))


class RecurrentNetwork(SequenceNetwork):
    """A codec around recurrent layers.

    Args:
        layers_type: the kind of cell.
        hidden_size: units of a layer.
        num_layers: the number of layers.
        vocabulary_size: of tokens; 0 for values.
        series: of values; 0 for tokens.
        width: length of a token's vector.
        dropout: of the last layer's output, in training.
    """

    def __init__(
        self,
        layers_type: type[RecurrentLayers],
        hidden_size: int,
        num_layers: int = 1,
        vocabulary_size: int = 0,
        series: int = 0,
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.codec = make_codec(vocabulary_size, series, width, hidden_size)
        self.layers: nn.Module = layers_type(self.codec.width, hidden_size, num_layers)
        self.dropout = nn.Dropout(dropout)
        self.state_tensors = tuple(
            StateTensor(name, (num_layers, hidden_size)) for name in layers_type.state_names
        )

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the recurrence once for each element."""
        features, state = self.layers(self.codec.encode(inputs), state)
        return self.codec.decode(self.dropout(features), inputs), state

    def forward(self, inputs: Tensor) -> Tensor:
        """The predictions from the beginning; ``layers`` may be the fused ones."""
        features, _ = self.layers(self.codec.encode(inputs))
        return self.codec.decode(self.dropout(features), inputs)
