"""The vanilla recurrent network: Elman, "Finding Structure in Time" (Cognitive Science, 1990)."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.sequence.recurrent import CellWeights, RecurrentLayers, RecurrentNetwork, State

__all__ = ["RNN", "rnn"]


class RNN(RecurrentLayers):
    """Cells without gates: the new state is a tanh of the element and the old state."""

    fused_type = nn.RNN

    def cell(self, x: Tensor, state: State, weights: CellWeights) -> State:
        """``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``."""
        (h,) = state
        of_x = functional.linear(x, weights.weight_ih, weights.bias_ih)
        of_h = functional.linear(h, weights.weight_hh, weights.bias_hh)
        return (torch.tanh(of_x + of_h),)


rnn = partial(RecurrentNetwork, RNN)
