"""From the logits of a CTC network to tokens.

For each time step the network names a token or the blank. A repeated token counts once; a blank
stands for no token. Graves et al. 2006, "Connectionist Temporal Classification".
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Hypothesis(NamedTuple):
    """A sequence of tokens and its probability."""

    tokens: tuple[int, ...]
    """Without blanks; each 0 to the number of logits less 1."""
    log_probability: float
    """Natural logarithm, 0 or less. `greedy` counts the best alignment alone; `beam_search` adds
    up all alignments that it kept."""


class _Prefixes:
    """Token prefixes as a tree; each has a number.

    Attributes:
        token: the last token of each prefix, by the prefix's number.
    """

    empty = 0

    def __init__(self) -> None:
        self.token = [0]
        self._parent = [-1]
        self._number: dict[tuple[int, int], int] = {}

    def grown(self, kept: list[int], tokens: list[int], number: int) -> int:
        """The prefix with a number among: those kept, then each of those with each token added."""
        if number < len(kept):
            return kept[number]
        place, column = divmod(number - len(kept), len(tokens))
        key = kept[place], tokens[column]
        prefix = self._number.setdefault(key, len(self.token))
        if prefix == len(self.token):
            self._parent.append(key[0])
            self.token.append(key[1])
        return prefix

    def extensions(self, kept: list[int], tokens: list[int]) -> list[tuple[int, int, int]]:
        """Pairs of kept prefixes of which one is the other with one of ``tokens`` added.

        Returns:
            Index of the longer prefix, of the shorter one, and of the token.
        """
        places = {prefix: place for place, prefix in enumerate(kept)}
        columns = {token: column for column, token in enumerate(tokens)}
        return [
            (place, places[self._parent[prefix]], columns[self.token[prefix]])
            for prefix, place in places.items()
            if self._parent[prefix] in places and self.token[prefix] in columns
        ]

    def tokens(self, prefix: int) -> tuple[int, ...]:
        """All tokens of a prefix, in order."""
        tokens: list[int] = []
        while prefix != self.empty:
            tokens.append(self.token[prefix])
            prefix = self._parent[prefix]
        return tuple(reversed(tokens))


def greedy(logits: NDArray[np.float32], blank: int = 0) -> Hypothesis:
    """The tokens of the likeliest alignment.

    Args:
        logits: ``[T, V]``, T from 0.
        blank: index of the logit that means no token.
    """
    log_probabilities = _log_softmax(logits)
    path = logits.argmax(axis=1)
    is_new = np.ones(len(path), dtype=bool)
    is_new[1:] = path[1:] != path[:-1]
    tokens = path[is_new & (path != blank)]
    likelihood = log_probabilities[np.arange(len(path)), path].sum()
    return Hypothesis(tuple(map(int, tokens)), float(likelihood))


def beam_search(logits: NDArray[np.float32], beams: int, blank: int = 0) -> list[Hypothesis]:
    """The likeliest hypotheses; each adds up all its alignments that the search kept.

    Args:
        logits: ``[T, V]``, T from 0.
        beams: prefixes kept at each time step, at least 1. The search is exact when it keeps every
            prefix.
        blank: index of the logit that means no token.

    Returns:
        At most ``beams`` hypotheses, best first.
    """
    prefixes = _Prefixes()
    kept = [prefixes.empty]
    # Log-probabilities of each, by what its last time step was, a blank or its last token.
    blanks, ends = np.zeros(1), np.full(1, -np.inf)
    for step in _log_softmax(logits):
        # The best `beams` new prefixes use at most the best `beams` tokens, beside the blank and a
        # repeat. What other tokens would add to a prefix that is already kept is left out.
        likely = np.argsort(-step, kind="stable")[: beams + 2]
        likely = likely[likely != blank]
        last = np.array([prefixes.token[prefix] for prefix in kept])
        totals = np.logaddexp(blanks, ends)
        # A repeated token is a new token only behind a blank.
        grown = np.where(likely == last[:, None], blanks[:, None], totals[:, None]) + step[likely]
        blanks, ends = totals + step[blank], ends + step[last]
        tokens: list[int] = likely.tolist()
        for place, parent, column in prefixes.extensions(kept, tokens):
            ends[place] = np.logaddexp(ends[place], grown[parent, column])
            grown[parent, column] = -np.inf
        blanks = np.concatenate([blanks, np.full(grown.size, -np.inf)])
        ends = np.concatenate([ends, grown.ravel()])
        every = np.logaddexp(blanks, ends)
        best = np.argsort(-every, kind="stable")[:beams]
        best = best[every[best] > -np.inf]
        blanks, ends = blanks[best], ends[best]
        kept = [prefixes.grown(kept, tokens, number) for number in best.tolist()]
    log_probabilities: list[float] = np.logaddexp(blanks, ends).tolist()
    return [
        Hypothesis(prefixes.tokens(each), value)
        for each, value in zip(kept, log_probabilities, strict=True)
    ]


def own_frames(logits: NDArray[np.float32], length: int, row_length: int) -> NDArray[np.float32]:
    """The logits of a history, without the logits of the padding behind it.

    Args:
        logits: ``[T, V]``, of a row.
        length: time steps of the history.
        row_length: time steps of the whole row, at least ``length``.

    Returns:
        The first ``ceil(T * length / row_length)`` frames.
    """
    return logits[: -(-len(logits) * length // row_length)]


def step_log_probabilities(
    logits: NDArray[np.float32], tokens: Sequence[int], blank: int = 0
) -> NDArray[np.float64]:
    """The log-probability of each token of a hypothesis, given the tokens before it.

    All alignments count: it is the share of hypotheses that begin with the tokens up to this one,
    among those that begin with the tokens before it.

    Args:
        logits: ``[T, V]``, T from 0.
        tokens: ``K`` tokens without blanks, as `greedy` and `beam_search` return them.
        blank: index of the logit that means no token.

    Returns:
        ``[K]`` natural logarithms, 0 or less.
    """
    count = len(tokens)
    if not count:
        return np.empty(0)
    log_probabilities = _log_softmax(logits)
    ids = np.array(tokens)
    # For prefixes of 0 to K tokens: log-probability by what the last time step was, and
    # log-probability that the prefix has begun at all.
    blanks, ends = np.full(count + 1, -np.inf), np.full(count + 1, -np.inf)
    blanks[0] = 0.0
    begun = np.full(count + 1, -np.inf)
    begun[0] = 0.0
    is_repeat = np.zeros(count, dtype=bool)
    is_repeat[1:] = ids[1:] == ids[:-1]
    for step in log_probabilities:
        either = np.logaddexp(blanks, ends)
        # A repeated token is a new token only behind a blank.
        begins = np.where(is_repeat, blanks[:-1], either[:-1]) + step[ids]
        ends[1:] = np.logaddexp(ends[1:] + step[ids], begins)
        blanks = either + step[blank]
        begun[1:] = np.logaddexp(begun[1:], begins)
    return np.minimum(np.diff(begun), 0.0)


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
