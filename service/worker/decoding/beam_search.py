"""Beam search: several continuations of one history side by side; the likeliest is the result.

Continuations are compared by the mean log-probability of their tokens, so that a longer one is not
worse only because of its length. The search goes on until enough of them have ended and none of the
open ones is better than the best ended one, so an open one is the result only if the context is
full.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.ipc.sequence_slot import FinishReason
from service.worker.decoding.sampling import likeliest, log_sum_exp


class NotFinite(Exception):
    """The model's logits are not finite."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A continuation: its last token, and the continuation that it extends."""

    before: "Hypothesis | None"
    token: int
    log_probability: float
    total: float  # sum of the log-probabilities
    length: int
    text: str  # its end, as long as a stop string may be
    alternatives: tuple[NDArray[np.intp], NDArray[np.float32]]
    finish_reason: FinishReason = FinishReason.OPEN

    @property
    def score(self) -> float:
        """The mean log-probability; the best continuation has the highest."""
        return self.total / self.length

    def steps(self) -> list["Hypothesis"]:
        """Each token's hypothesis, first to last."""
        return list(self._backwards())[::-1]

    def _backwards(self) -> Iterator["Hypothesis"]:
        each: Hypothesis | None = self
        while each is not None:
            yield each
            each = each.before


@dataclass(slots=True)
class BeamSearch:
    """One search.

    Attributes:
        beams: how many continuations are followed.
        vocabulary: the text of each token.
        stop: strings that end a continuation.
        end_token: the token that ends one; -1: the model has none.
        open: continuations that have not ended, best first.
    """

    beams: int
    steps: int
    alternatives: int
    vocabulary: tuple[str, ...]
    stop: tuple[str, ...]
    end_token: int
    open: list[Hypothesis] = field(default_factory=list[Hypothesis])
    _best_ended: Hypothesis | None = None
    _ended_count: int = 0

    def advance(self, logits: NDArray[np.float32]) -> list[int]:
        """Make a step.

        Args:
            logits: ``[n, V]`` of the open continuations; first ``[1, V]`` of the history.

        Returns:
            For each continuation that is now open, the row of the one that it extends.

        Raises:
            NotFinite: the logits are no distribution; -inf is a token with probability 0.
        """
        before: Sequence[Hypothesis | None] = self.open if self.open else _HISTORY
        with np.errstate(invalid="ignore"):
            sums = log_sum_exp(logits)
        if not np.isfinite(sums).all():
            raise NotFinite
        log_probabilities = logits - sums[:, None]
        so_far = [[each.total if each else 0.0] for each in before]
        totals = log_probabilities + np.array(so_far, np.float32)
        order = np.argsort(-totals, axis=None, kind="stable")
        candidates: list[int] = order[: 2 * self.beams].tolist()
        others = likeliest(logits, self.alternatives) if self.alternatives else None
        self.open, parents = [], list[int]()
        for place in candidates:
            row, token = divmod(place, logits.shape[1])
            if totals[row, token] == -np.inf:  # impossible, as are all that follow
                break
            alternatives = (others[0][row], others[1][row]) if others else _NONE
            made = self._extend(
                before[row], token, float(log_probabilities[row, token]), alternatives
            )
            if made.finish_reason is not FinishReason.OPEN:
                self._note_ended(made)
            elif len(self.open) < self.beams:
                self.open.append(made)
                parents.append(row)
        return parents

    @property
    def is_over(self) -> bool:
        """Whether no further step is needed."""
        if not self.open:
            return True
        if self._best_ended is None or self._ended_count < self.beams:
            return False
        return self._best_ended.score >= max(each.score for each in self.open)

    def best(self) -> tuple[Hypothesis, FinishReason]:
        """The likeliest continuation, and why it ended.

        An open one is considered only while the search is not over: then the context is full.
        """
        open_ = [] if self.is_over else self.open
        ended = [self._best_ended] if self._best_ended else []
        best = max([*ended, *open_], key=lambda each: each.score)
        return best, best.finish_reason or FinishReason.CONTEXT

    def _note_ended(self, made: Hypothesis) -> None:
        self._ended_count += 1
        if self._best_ended is None or made.score > self._best_ended.score:
            self._best_ended = made

    def _extend(
        self,
        before: Hypothesis | None,
        token: int,
        log_probability: float,
        alternatives: tuple[NDArray[np.intp], NDArray[np.float32]],
    ) -> Hypothesis:
        kept = max(map(len, self.stop), default=0)
        added = self.vocabulary[token]
        text = (before.text if before else "")[-kept:] + added if kept else ""
        finish_reason = FinishReason.OPEN
        if token == self.end_token or stops(text, added, self.stop):
            finish_reason = FinishReason.STOP
        length = before.length + 1 if before else 1
        if finish_reason is FinishReason.OPEN and length == self.steps:
            finish_reason = FinishReason.STEPS
        total = (before.total if before else 0.0) + log_probability
        return Hypothesis(
            before, token, log_probability, total, length, text, alternatives, finish_reason
        )


_HISTORY: Sequence[Hypothesis | None] = (None,)
_NONE = (np.empty(0, np.intp), np.empty(0, np.float32))


def stops(text: str, added: str, stop: tuple[str, ...]) -> bool:
    """Whether a stop string ends within ``added``, the last characters of ``text``."""
    for each in stop:
        found = text.rfind(each)
        if found >= 0 and found + len(each) > len(text) - len(added):
            return True
    return False
