"""Recurrent layers as ONNX operators: one per layer, for any number of time steps.

PyTorch's exporter unrolls a loop over time and so fixes its length; see ``docs/adr/0006``.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from export.models.sequence.gru import GRU
from export.models.sequence.lstm import LSTM
from export.models.sequence.recurrent import RecurrentLayers
from export.models.sequence.rnn import RNN
from export.models.sequence.sequence import State

OPERATOR_VERSION = 14
"""The opset of ONNX's recurrent operators in their current form."""


@dataclass(frozen=True)
class Operator:
    """One of ONNX's recurrent operators."""

    name: str
    gates: tuple[int, ...]
    """The index of each of its gates in torch's weights."""
    attributes: dict[str, int] = field(default_factory=dict)


OPERATORS: dict[type[RecurrentLayers], Operator] = {
    RNN: Operator("RNN", (0,)),
    LSTM: Operator("LSTM", (0, 3, 1, 2)),  # torch: i f g o, ONNX: i o f c
    GRU: Operator("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # torch: r z n, ONNX: z r h
}


class OperatorLayers(nn.Module):
    """Recurrent layers that run as they are written and are exported as ONNX operators."""

    def __init__(self, layers: RecurrentLayers) -> None:
        super().__init__()
        self.layers = layers
        self.operator = OPERATORS[type(layers)]
        for index in range(layers.num_layers):
            weights = layers.weights(index)
            biases = [self.reorder(weights.bias_ih), self.reorder(weights.bias_hh)]
            # ONNX's leading axis is for directions.
            self.register_buffer(f"w{index}", self.reorder(weights.weight_ih)[None])
            self.register_buffer(f"r{index}", self.reorder(weights.weight_hh)[None])
            self.register_buffer(f"b{index}", torch.cat(biases)[None])

    def reorder(self, weights: Tensor) -> Tensor:
        """Rows of torch's gates in the order of ONNX's."""
        gates = weights.detach().chunk(len(self.operator.gates))
        return torch.cat([gates[index] for index in self.operator.gates])

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """``[N, T, input_size], state -> [N, T, hidden_size], state``."""
        if not torch.onnx.is_in_onnx_export():
            return self.layers(x, state)
        after: list[list[Tensor]] = []
        outputs = x.transpose(0, 1)  # time comes first in ONNX
        for index in range(self.layers.num_layers):
            outputs, *current = self.run_operator(
                index, outputs, [part[:, index] for part in state]
            )
            after.append(current)
        stacked = tuple(torch.stack(parts, dim=1) for parts in zip(*after, strict=True))
        return outputs.transpose(0, 1), stacked

    def run_operator(self, index: int, x: Tensor, state: list[Tensor]) -> list[Tensor]:
        """One layer: its outputs ``[T, N, hidden_size]``, and its state ``[N, hidden_size]``."""
        steps, batch, hidden_size = *x.shape[:2], self.layers.hidden_size
        weights = [self.get_buffer(f"{kind}{index}") for kind in "wrb"]
        # None: the number of steps is the same for all rows
        inputs = [x, *weights, None, *(part[None] for part in state)]
        shapes = [(steps, 1, batch, hidden_size), *[(1, batch, hidden_size)] * len(state)]
        outputs, *after = torch.onnx.ops.symbolic_multi_out(
            self.operator.name,
            inputs,
            {"hidden_size": hidden_size, **self.operator.attributes},
            dtypes=[torch.float32] * len(shapes),
            shapes=shapes,
            version=OPERATOR_VERSION,
        )
        return [outputs.squeeze(1), *(part.squeeze(0) for part in after)]
