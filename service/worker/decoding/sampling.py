"""How the next token is chosen from logits; all functions take one row for each sequence.

A draw depends only on the seed and the number of the step, because Philox (Salmon et al. 2011) is
based on a counter. So a continuation depends neither on the other sequences nor on the worker.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.ipc.sequence_slot import SequencePlan

_DRAWS = 64  # made at once
_BLOCKS = _DRAWS // 4  # of Philox's counter: each holds four 64-bit numbers


class Chosen(NamedTuple):
    """One step of each row."""

    tokens: NDArray[np.intp]  # [n]
    log_probabilities: NDArray[np.float32]  # [n], by the model itself: temperature 1, no penalty


class Sampler:
    """The draws of one sequence, and the tokens to penalise, kept from step to step."""

    def __init__(
        self, plan: SequencePlan, vocabulary_size: int, history: NDArray[np.int32]
    ) -> None:
        self.plan = plan
        self._draws: NDArray[np.float64] = np.empty(0)
        self._block = -1
        self._occurred: NDArray[np.bool_] | None = None
        if plan.penalty != 1:
            self._occurred = np.zeros(vocabulary_size, np.bool_)
            self._occurred[history] = True

    def draw(self, step: int) -> float:
        """The random number of this step, in ``[0, 1)``."""
        block, place = divmod(step + self.plan.first_step, _DRAWS)
        if block != self._block:
            philox = np.random.Philox(key=self.plan.seed, counter=block * _BLOCKS)
            self._draws, self._block = np.random.Generator(philox).random(_DRAWS), block
        return float(self._draws[place])

    def penalise(self, logits: NDArray[np.float64]) -> None:
        """Make tokens that occurred less likely (Keskar et al., arXiv 1909.05858), in place.

        A negative logit is multiplied, because division would make it more likely.
        """
        if self._occurred is not None:
            its = logits[self._occurred]
            penalty = self.plan.penalty
            logits[self._occurred] = np.where(its > 0, its / penalty, its * penalty)

    def note(self, token: int) -> None:
        """Remember a token that was chosen."""
        if self._occurred is not None:
            self._occurred[token] = True


def log_sum_exp(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logarithm of the sum of exponentials of each row, ``[n, V] -> [n]``."""
    peaks = logits.max(axis=1)
    return peaks + np.log(np.exp(logits - peaks[:, None]).sum(axis=1))


def choose_likeliest(logits: NDArray[np.float32]) -> Chosen:
    """The token with the largest logit in each row of ``[n, V]``; the first of equal ones."""
    tokens = logits.argmax(axis=1)
    peaks = logits[np.arange(len(tokens)), tokens]
    sums = np.exp(logits - peaks[:, None]).sum(axis=1)
    return Chosen(tokens, -np.log(sums))


def choose(
    logits: NDArray[np.float32], samplers: Sequence[Sampler], steps: Sequence[int]
) -> Chosen:
    """Choose a token for each row as its plan says.

    Args:
        logits: ``[n, V]``.
        samplers: of each row.
        steps: of each row, the number of its step.
    """
    wanted = logits.astype(np.float64)
    for row, sampler in zip(wanted, samplers, strict=True):
        sampler.penalise(row)
    tokens = wanted.argmax(axis=1)
    sampled = [index for index, each in enumerate(samplers) if each.plan.temperature]
    if sampled:
        plans = [samplers[index].plan for index in sampled]
        draws = np.array([samplers[index].draw(steps[index]) for index in sampled])
        tokens[sampled] = _draw(wanted[sampled], plans, draws)
    for sampler, token in zip(samplers, tokens.tolist(), strict=True):
        sampler.note(token)
    own = np.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
    return Chosen(tokens, (own - log_sum_exp(logits)).astype(np.float32))


def _draw(
    logits: NDArray[np.float64], plans: Sequence[SequencePlan], draws: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Draw from each row by inverting its cumulative probabilities."""
    scaled = logits / np.array([plan.temperature for plan in plans])[:, None]
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    cut = [index for index, plan in enumerate(plans) if plan.top_k or plan.top_p < 1]
    if cut:
        weights[cut] = _cut(weights[cut], [plans[index] for index in cut])
    cumulated = weights.cumsum(axis=1)
    return (cumulated <= (draws * cumulated[:, -1])[:, None]).sum(axis=1)


def _cut(weights: NDArray[np.float64], plans: Sequence[SequencePlan]) -> NDArray[np.float64]:
    """Keep the ``top_k`` likeliest, and of these the first that reach ``top_p``; zero the rest."""
    size = weights.shape[1]
    order = np.argsort(-weights, axis=1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=1)
    ranked[np.arange(size) >= np.array([[plan.top_k or size] for plan in plans])] = 0
    before = ranked.cumsum(axis=1) - ranked
    share = np.array([[plan.top_p] for plan in plans]) * ranked.sum(axis=1, keepdims=True)
    ranked[before >= share] = 0
    kept = np.empty_like(ranked)
    np.put_along_axis(kept, order, ranked, axis=1)
    return kept


def likeliest(
    logits: NDArray[np.float32], count: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The ``count`` likeliest tokens of each row, best first, and their log-probabilities."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    best = np.take_along_axis(logits, order, axis=1)
    return order, (best - log_sum_exp(logits)[:, None]).astype(np.float32)
