"""Long short-term memory: Hochreiter and Schmidhuber (Neural Computation 9(8), 1997).

With the forget gate of Gers, Schmidhuber and Cummins, "Learning to Forget" (2000), as is usual.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.sequence.recurrent import CellWeights, RecurrentLayers, RecurrentNetwork, State

__all__ = ["LSTM", "lstm"]


class LSTM(RecurrentLayers):
    """Cells with a memory c; gates choose what is erased, written and shown.

    Each step updates c by a product and a sum, so gradients reach far back.
    """

    fused_type = nn.LSTM
    state_names = ("h", "c")

    def cell(self, x: Tensor, state: State, weights: CellWeights) -> State:
        """One time step; the gates are in 0..1."""
        h, c = state
        of_x = functional.linear(x, weights.weight_ih, weights.bias_ih)
        of_h = functional.linear(h, weights.weight_hh, weights.bias_hh)
        i, f, g, o = (of_x + of_h).chunk(4, dim=1)
        forget_gate = torch.sigmoid(f)  # the share of the memory that is kept
        input_gate = torch.sigmoid(i)  # where something new is written
        candidate = torch.tanh(g)  # what is written
        output_gate = torch.sigmoid(o)  # the share of the memory that is shown
        c = forget_gate * c + input_gate * candidate  # the update
        h = output_gate * torch.tanh(c)
        return h, c


lstm = partial(RecurrentNetwork, LSTM)
