"""Gated recurrent units: Cho et al., arXiv 1406.1078, section 2.3.

"Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation".
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.sequence.recurrent import CellWeights, RecurrentLayers, RecurrentNetwork, State

__all__ = ["GRU", "gru"]


class GRU(RecurrentLayers):
    """Cells with two gates and no memory beside their output; an LSTM has 4/3 of the weights."""

    fused_type = nn.GRU

    def cell(self, x: Tensor, state: State, weights: CellWeights) -> State:
        """One time step; the gates are in 0..1."""
        (h,) = state
        r_of_x, z_of_x, n_of_x = functional.linear(x, weights.weight_ih, weights.bias_ih).chunk(
            3, 1
        )
        r_of_h, z_of_h, n_of_h = functional.linear(h, weights.weight_hh, weights.bias_hh).chunk(
            3, 1
        )
        reset_gate = torch.sigmoid(r_of_x + r_of_h)  # the share of the past in the candidate
        update_gate = torch.sigmoid(z_of_x + z_of_h)  # the share of the past that is kept
        # The paper resets h before the product; torch and cuDNN reset the product, which saves one.
        candidate = torch.tanh(n_of_x + reset_gate * n_of_h)
        return (update_gate * h + (1 - update_gate) * candidate,)


gru = partial(RecurrentNetwork, GRU)
