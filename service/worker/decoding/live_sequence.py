"""One live sequence: what it was asked, what it has read, and where its steps go."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.ipc.sequence_slot import (
    COUNT_WORD,
    FINISH_WORD,
    WORD_BYTES,
    FinishReason,
    SequenceSlot,
)
from service.worker.batch_queue import Entry
from service.worker.decoding.sampling import Sampler


class Live:
    """A ticket that has a row; of a beam search, one of its beams.

    Attributes:
        row: which one; set by `Rows` alone; -1 when it has none (any more).
        history: elements to read before the first step: the caller's, and after the loss of a
            worker those that were emitted already.
        fed: how many of them were read.
        made_before: steps that a worker made which was lost since.
        served: the turn in which its history was last read on, or it came.
        text: the end of what was made, as long as a stop string may be.
    """

    __slots__ = (
        "entry",
        "fed",
        "history",
        "made_before",
        "plan",
        "row",
        "sampler",
        "served",
        "slot",
        "started_ns",
        "text",
    )

    def __init__(
        self, entry: Entry, slot: SequenceSlot, vocabulary_size: int, started_ns: int, turn: int
    ) -> None:
        self.entry = entry
        self.slot = slot
        self.plan = slot.layout.plan
        self.made_before = slot.count
        self.history = _with_emitted(slot, self.made_before)
        self.fed = 0
        self.row = -1
        self.served = turn
        self.started_ns = started_ns
        self.text = ""
        self.sampler: Sampler | None = None
        if slot.layout.elements.is_tokens and not self.plan.is_greedy:
            self.sampler = Sampler(self.plan, vocabulary_size, self.history)

    @property
    def left(self) -> int:
        """Elements of the history that are still to be read."""
        return len(self.history) - self.fed

    @property
    def first_word(self) -> int:
        """Where the next step goes, in words of the arena."""
        layout = self.slot.layout
        return (
            self.slot.start + layout.steps_offset
        ) // WORD_BYTES + layout.step_words * self.made_before

    @property
    def count_word(self) -> int:
        """Where the count of complete steps is, in words of the arena."""
        return self.slot.start // WORD_BYTES + COUNT_WORD

    def mark_running(self) -> None:
        """From now on it could be what kills the worker."""
        self.entry.sender.arena.mark_running(self.slot.start)

    def mark_waiting(self) -> None:
        """It could not be: its history waits to be read on."""
        self.entry.sender.arena.mark_queued(self.slot.start)

    def twin(self) -> "Live":
        """Another beam of the same search, with all of the history read."""
        twin = copy.copy(self)
        twin.row = -1
        return twin

    def write_end(self, end: FinishReason) -> None:
        """Say why it ended."""
        self._write(FINISH_WORD, end)

    def write_count(self, count: int) -> None:
        """Say that so many steps are complete."""
        self._write(COUNT_WORD, count)

    def _write(self, word: int, value: int) -> None:
        words = self.entry.sender.arena.bytes.cast("i")
        words[self.slot.start // WORD_BYTES + word] = value


def _with_emitted(slot: SequenceSlot, count: int) -> NDArray[Any]:
    """The history, and behind it the elements of the steps that were made already."""
    history = slot.history
    if not count:
        return history
    steps = slot.steps(0, count)
    emitted = steps[:, 0] if slot.layout.elements.is_tokens else steps.view(np.float32)
    return np.concatenate([history, emitted])
