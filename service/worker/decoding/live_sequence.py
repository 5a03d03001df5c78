"""One live sequence: what was asked, how much of its history is read, and where its steps go."""

import copy
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.ipc.doorbell import TicketStatus
from service.ipc.sequence_slot import (
    COUNT_WORD,
    FINISH_WORD,
    WORD_BYTES,
    FinishReason,
    SequenceSlot,
)
from service.worker.decoding.sampling import Sampler
from service.worker.entries import Entry


class LiveSequence:
    """A ticket that has a row of the cache; in a beam search, one of its beams.

    Attributes:
        row: of the cache; set by `RowTable` alone; -1 while it has none.
        history: elements to read before the first step; after the loss of a worker these include
            the steps that were already made.
        prefilled: how many elements of the history are read.
        steps_before: steps that a lost worker has made.
        last_served: the iteration in which it was admitted, or its history was last read.
        text: the end of the text that was made, as long as a stop string may be.
    """

    __slots__ = (
        "entry",
        "history",
        "last_served",
        "plan",
        "prefilled",
        "row",
        "sampler",
        "slot",
        "started_ns",
        "steps_before",
        "text",
    )

    def __init__(
        self,
        entry: Entry,
        slot: SequenceSlot,
        vocabulary_size: int,
        started_ns: int,
        iteration: int,
    ) -> None:
        self.entry = entry
        self.slot = slot
        self.plan = slot.layout.plan
        self.steps_before = slot.count
        self.history = _history_with_steps(slot, self.steps_before)
        self.prefilled = 0
        self.row = -1
        self.last_served = iteration
        self.started_ns = started_ns
        self.text = ""
        self.sampler: Sampler | None = None
        if slot.layout.elements.is_tokens and not self.plan.is_greedy:
            self.sampler = Sampler(self.plan, vocabulary_size, self.history)

    @property
    def history_left(self) -> int:
        """How many elements of the history are still to be read."""
        return len(self.history) - self.prefilled

    @property
    def first_word(self) -> int:
        """Where its first step here goes, in words of the arena."""
        layout = self.slot.layout
        steps_word = (self.slot.start + layout.steps_offset) // WORD_BYTES
        return steps_word + layout.step_words * self.steps_before

    @property
    def count_word(self) -> int:
        """Where the count of complete steps is, in words of the arena."""
        return self.slot.start // WORD_BYTES + COUNT_WORD

    def mark_running(self) -> None:
        """Note that it takes part in runs and could crash the worker."""
        self.entry.sender.arena.mark_running(self.slot.start)

    def mark_waiting(self) -> None:
        """Note that it waits for prefill and takes part in no run."""
        self.entry.sender.arena.mark_queued(self.slot.start)

    def fork(self) -> "LiveSequence":
        """Another beam of the same search, whose history is read; it has no row yet."""
        fork = copy.copy(self)
        fork.row = -1
        return fork

    def write_finish_reason(self, finish_reason: FinishReason) -> None:
        """Write into the slot why it ended."""
        self._write(FINISH_WORD, finish_reason)

    def write_count(self, count: int) -> None:
        """Write into the slot how many steps are complete."""
        self._write(COUNT_WORD, count)

    def _write(self, word: int, value: int) -> None:
        words = self.entry.sender.arena.bytes.cast("i")
        words[self.slot.start // WORD_BYTES + word] = value


class FinishSequence(Protocol):
    """Ends a sequence."""

    def __call__(
        self,
        sequence: LiveSequence,
        status: TicketStatus,
        finish_reason: FinishReason = FinishReason.OPEN,
        reason: str = "",
    ) -> None:
        """Report the outcome, and free the rows."""
        ...


def _history_with_steps(slot: SequenceSlot, count: int) -> NDArray[Any]:
    """The history, followed by the elements of the first ``count`` steps."""
    history = slot.history
    if not count:
        return history
    steps = slot.steps(0, count)
    elements = steps[:, 0] if slot.layout.elements.is_tokens else steps.view(np.float32)
    return np.concatenate([history, elements])
