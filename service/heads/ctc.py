"""From the logits of a CTC network to tokens.

For each time step the network names a token or the blank; repeats are one, blanks are none. Graves
et al. 2006, "Connectionist Temporal Classification".
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Reading(NamedTuple):
    """A row of tokens, and how likely it is."""

    tokens: tuple[int, ...]
    """Without blanks; each 0 to the number of logits less 1."""
    log_probability: float
    """Natural logarithm, 0 or less; of `greedy` of its one alignment, of `beam_search` of all that
    it kept."""


class _Ends(NamedTuple):
    """Log-probabilities of a prefix, by what its last time step was."""

    blank: float
    token: float

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.blank, self.token))


_NEVER = _Ends(-np.inf, -np.inf)


def greedy(logits: NDArray[np.float32], blank: int = 0) -> Reading:
    """The likeliest alignment, read.

    Args:
        logits: ``[T, V]``, T from 0.
        blank: the logit that means no token.
    """
    log_probabilities = _log_softmax(logits)
    path = logits.argmax(axis=1)
    is_new = np.ones(len(path), dtype=bool)
    is_new[1:] = path[1:] != path[:-1]
    tokens = path[is_new & (path != blank)]
    likelihood = log_probabilities[np.arange(len(path)), path].sum()
    return Reading(tuple(map(int, tokens)), float(likelihood))


def beam_search(logits: NDArray[np.float32], beams: int, blank: int = 0) -> list[Reading]:
    """The likeliest readings, over all their alignments that the search kept.

    Args:
        logits: ``[T, V]``, T from 0.
        beams: prefixes kept at each time step, at least 1; with as many as there are prefixes, the
            search is exact.
        blank: the logit that means no token.

    Returns:
        At most ``beams`` of them, best first.
    """
    kept: dict[tuple[int, ...], _Ends] = {(): _Ends(0.0, -np.inf)}
    for step in _log_softmax(logits):
        # Of what a prefix can newly become, others are no more than that many; what they would add
        # to a prefix that is known already is left out. Beside them: the blank, and a repeat.
        likely = [int(token) for token in np.argsort(-step, kind="stable")[: beams + 2]]
        grown: dict[tuple[int, ...], _Ends] = {}
        for prefix, ends in kept.items():
            _extend(grown, prefix, ends, step, [token for token in likely if token != blank], blank)
        best = sorted(grown, key=lambda prefix: -grown[prefix].total)[:beams]
        kept = {prefix: grown[prefix] for prefix in best}
    return [Reading(prefix, ends.total) for prefix, ends in kept.items()]


def own_frames(logits: NDArray[np.float32], length: int, row_length: int) -> NDArray[np.float32]:
    """The logits of a history, without those of the padding behind it.

    Args:
        logits: ``[T, V]``, of a row.
        length: time steps of the history in it.
        row_length: and of the row, at least as many.

    Returns:
        The first ``ceil(T * length / row_length)`` of them.
    """
    return logits[: -(-len(logits) * length // row_length)]


def step_log_probabilities(
    logits: NDArray[np.float32], tokens: Sequence[int], blank: int = 0
) -> NDArray[np.float64]:
    """How likely each token of a reading is, after those before it.

    Over all alignments: the share of readings that begin with the tokens up to this one, among
    those that begin with the tokens before it.

    Args:
        logits: ``[T, V]``, T from 0.
        tokens: ``K`` of them, without blanks, as `greedy` and `beam_search` give them.
        blank: the logit that means no token.

    Returns:
        ``[K]`` natural logarithms, 0 or less.
    """
    count = len(tokens)
    if not count:
        return np.empty(0)
    log_probabilities = _log_softmax(logits)
    ids = np.array(tokens)
    # Of the empty prefix and of those of 1 to K tokens: by what their last time step was, and how
    # likely they have ever begun.
    blanks, ends = np.full(count + 1, -np.inf), np.full(count + 1, -np.inf)
    blanks[0] = 0.0
    begun = np.full(count + 1, -np.inf)
    begun[0] = 0.0
    is_repeat = np.zeros(count, dtype=bool)
    is_repeat[1:] = ids[1:] == ids[:-1]
    for step in log_probabilities:
        either = np.logaddexp(blanks, ends)
        # A token that is repeated is a new one only after a blank.
        begins = np.where(is_repeat, blanks[:-1], either[:-1]) + step[ids]
        ends[1:] = np.logaddexp(ends[1:] + step[ids], begins)
        blanks = either + step[blank]
        begun[1:] = np.logaddexp(begun[1:], begins)
    return np.minimum(np.diff(begun), 0.0)


def _extend(
    grown: dict[tuple[int, ...], _Ends],
    prefix: tuple[int, ...],
    ends: _Ends,
    step: NDArray[np.float64],
    tokens: list[int],
    blank: int,
) -> None:
    """Add all that a prefix may become in one time step to ``grown``."""
    stays_token = ends.token + float(step[prefix[-1]]) if prefix else -np.inf
    _add(grown, prefix, _Ends(ends.total + float(step[blank]), stays_token))
    for token in tokens:
        # A token that is repeated is a new one only after a blank.
        before = ends.blank if prefix[-1:] == (token,) else ends.total
        _add(grown, (*prefix, token), _Ends(-np.inf, before + float(step[token])))


def _add(grown: dict[tuple[int, ...], _Ends], prefix: tuple[int, ...], more: _Ends) -> None:
    if more == _NEVER:
        return
    known = grown.get(prefix, _NEVER)
    grown[prefix] = _Ends(
        float(np.logaddexp(known.blank, more.blank)), float(np.logaddexp(known.token, more.token))
    )


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
