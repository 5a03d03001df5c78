"""Autoregressive models of order N: the next element is a function of the last N.

For numbers: Yule, "On a Method of Investigating Periodicities in Disturbed Series, with Special
Reference to Wolfer's Sunspot Numbers" (1927). For text: Bengio et al., "A Neural Probabilistic
Language Model" (JMLR 3, 2003, section 2).
"""

import torch
from torch import Tensor, nn

from export.models.sequence.sequence import SequenceNetwork, State, StateTensor, make_codec

__all__ = ["AutoregressiveModel"]


class AutoregressiveModel(SequenceNetwork):
    """A perceptron over a window of N elements that slides along the sequence.

    Its state is the previous N - 1 encoded elements, zeros at the beginning.

    Args:
        order: N, at least 2; order 1 is a Markov model.
        hidden_size: units of the hidden layer.
        vocabulary_size: of tokens; 0 for values.
        series: of values; 0 for tokens.
        width: length of a token's vector.
        dropout: of hidden units, in training.
    """

    def __init__(
        self,
        order: int,
        hidden_size: int,
        vocabulary_size: int = 0,
        series: int = 0,
        width: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if order < 2:
            raise ValueError("order must be at least 2; a model of order 1 is the Markov model")
        self.codec = make_codec(vocabulary_size, series, width, hidden_size)
        # One layer on N concatenated vectors, for every position of the window at once.
        self.window = nn.Conv1d(self.codec.width, hidden_size, order)
        self.dropout = nn.Dropout(dropout)
        self.state_tensors = (StateTensor("window", (order - 1, self.codec.width)),)

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Predict from the last N elements, at each time step."""
        (past,) = state
        elements = torch.cat([past, self.codec.encode(inputs)], dim=1)  # [N, order - 1 + T, width]
        hidden = torch.tanh(self.window(elements.transpose(1, 2))).transpose(1, 2)
        predictions = self.codec.decode(self.dropout(hidden), inputs)
        return predictions, (elements[:, -past.shape[1] :],)
