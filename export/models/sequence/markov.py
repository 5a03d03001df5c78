"""Markov models of order 1: the next element depends on the last one alone.

A. A. Markov, "An example of statistical investigation of the text Eugene Onegin concerning the
connection of samples in chains" (1913). There is nothing to train: transitions are counted.
"""

import torch
from torch import Tensor
from torch.nn import functional

from export.models.sequence.sequence import Scaler, SequenceNetwork, State

__all__ = ["BinnedMarkovModel", "MarkovModel"]


def transition_log_probabilities(tokens: Tensor, size: int, smoothing: float) -> Tensor:
    """Count which token follows which, with ``smoothing`` added to every count (Laplace).

    Args:
        tokens: ``[T]``, in 0..size - 1.
        size: the number of tokens.
        smoothing: above 0, so that a transition that was not seen remains possible.

    Returns:
        ``[size, size]``: log P(column | row).
    """
    pairs = tokens[:-1] * size + tokens[1:]
    counts = torch.bincount(pairs, minlength=size * size).view(size, size).double() + smoothing
    return (counts / counts.sum(1, keepdim=True)).log().float()


class MarkovModel(SequenceNetwork):
    """A table of log P(next token | token); it needs no state.

    ``[N, T] -> [N, T, vocabulary_size]``
    """

    table: Tensor

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        uniform = torch.zeros(vocabulary_size, vocabulary_size).log_softmax(1)
        self.register_buffer("table", uniform)

    def count(self, tokens: Tensor, smoothing: float = 0.1) -> None:
        """Count the table in a text ``[T]``."""
        self.table.copy_(transition_log_probabilities(tokens, len(self.table), smoothing))

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Look each token up."""
        return functional.embedding(inputs, self.table), state


class BinnedMarkovModel(SequenceNetwork):
    """A Markov chain over the bins of one series; predicts the expected move from the last value.

    ``[N, T, 1] -> [N, T, 1]``, in the series' units; it needs no state.

    Args:
        bins: the number of states of the chain.
    """

    edges: Tensor
    centres: Tensor
    table: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.scaling = Scaler(1)
        self.register_buffer("edges", torch.zeros(bins - 1))
        self.register_buffer("centres", torch.zeros(bins))
        self.register_buffer("table", torch.zeros(bins, bins).log_softmax(1))

    def count(self, values: Tensor, smoothing: float = 0.01, stickiness: float = 0.0) -> None:
        """Take bins of equally many values, their means and transitions from ``[T, 1]``.

        Args:
            values: the series.
            smoothing: added to each count.
            stickiness: factor of a bin's visits that are added to its transitions to itself, as in
                Fox et al. (arXiv 0905.2592). Many moves are noise; without this a forecast of many
                steps returns to the mean too fast.
        """
        self.scaling.fit(values)
        scaled, bins = self.scaling(values)[:, 0], len(self.centres)
        self.edges.copy_(scaled.quantile(torch.arange(1, bins) / bins).half())
        states = self.bin(scaled)
        visits = torch.bincount(states, minlength=bins)
        sums = torch.zeros(bins).index_add(0, states, scaled)
        self.centres.copy_(sums / visits.clamp(min=1))
        moves = transition_log_probabilities(states, bins, smoothing).exp()
        self.table.copy_(((moves + stickiness * torch.eye(bins)) / (1 + stickiness)).log())

    def bin(self, scaled: Tensor) -> Tensor:
        """The chain's state at each value, of any shape: the number of edges below it."""
        return (scaled[..., None] > self.edges).sum(-1)

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Add the expected mean of the next bin minus the mean of the current one."""
        moves = self.table.softmax(1) @ self.centres - self.centres
        return inputs + self.scaling.scale * moves[self.bin(self.scaling(inputs))], state
