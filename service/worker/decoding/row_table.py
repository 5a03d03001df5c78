"""Which sequence has which row of the cache: stepping ones first, behind them those in prefill.

Both groups are neighbouring rows, so each run of the model reads its rows in place. A row that
becomes free is filled from the end.
"""

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.ipc.sequence_slot import ElementLayout
from service.worker.decoding.live_sequence import LiveSequence
from service.worker.decoding.state_cache import Snapshot, StateCache


class RowTable:
    """Up to ``max_rows`` live sequences.

    The arrays have one entry for each row.

    Attributes:
        cache: the states of the sequences.
        sequences: by row.
        stepping_count: how many of them step; they have the first rows.
        version: changes whenever a sequence gets, changes or loses its row.
        elements: what each row reads next, in the shape of the graph's first input at one step.
        next_word: where its next step goes, in words of its frontend's arena.
        count_word: where the count of its steps goes.
        step_words: the size of a step.
        steps_made: how many steps it has.
        steps_left: how many more it may make.
    """

    def __init__(self, manifest: Manifest, element_layout: ElementLayout, max_rows: int) -> None:
        section = manifest.sequence
        assert section is not None
        self.element_layout = element_layout
        self.cache = StateCache(manifest, max_rows)
        self.sequences: list[LiveSequence] = []
        self.stepping_count = 0
        self.version = 0
        self._deadline_ns: int | None = None
        self._deadline_version = 0
        dtype = manifest.inputs[0].dtype
        if section.frame:
            self.elements = np.zeros((max_rows, section.overlap + section.frame), dtype)
        elif element_layout.is_tokens:
            self.elements = np.zeros((max_rows, 1), dtype)
        else:
            self.elements = np.zeros((max_rows, 1, element_layout.element_words), dtype)
        self.next_word, self.count_word, self.step_words, self.steps_made, self.steps_left = (
            np.zeros(max_rows, np.int64) for _ in range(5)
        )
        self._by_row = (
            *(self.elements, self.next_word, self.count_word, self.step_words),
            *(self.steps_made, self.steps_left),
        )

    @property
    def next_deadline_ns(self) -> int | None:
        """The earliest deadline of the live sequences; None when there are none."""
        if self._deadline_version != self.version:
            deadlines = (each.entry.ticket.deadline_ns for each in self.sequences)
            self._deadline_ns = min(deadlines, default=None)
            self._deadline_version = self.version
        return self._deadline_ns

    def add(self, sequence: LiveSequence, snapshot: Snapshot | None = None) -> None:
        """Give an admitted sequence the row behind all others."""
        self.version += 1
        row = sequence.row = len(self.sequences)
        self.sequences.append(sequence)
        self.cache.add()
        if snapshot is not None:
            self.cache.restore(row, snapshot)
        self.next_word[row] = sequence.first_word
        self.count_word[row] = sequence.count_word
        self.step_words[row] = sequence.slot.layout.step_words
        self.steps_made[row] = sequence.steps_before
        self.steps_left[row] = sequence.plan.steps - sequence.steps_before

    def start_stepping(self, sequence: LiveSequence) -> None:
        """Move it to the stepping rows: its history is read, or the rest is read step by step."""
        self.version += 1
        first = self.sequences[self.stepping_count]
        if first is not sequence:
            saved, values = self.cache.save(sequence.row), self._values(sequence.row)
            self._move(first, sequence.row)
            self._place(sequence, self.stepping_count, values)
            self.cache.restore(sequence.row, saved)
        self.stepping_count += 1

    def remove(self, sequence: LiveSequence) -> None:
        """Free its row."""
        self.version += 1
        hole = sequence.row
        if hole < self.stepping_count:
            self.stepping_count -= 1
            hole = self._fill(hole, self.stepping_count)
        self._fill(hole, len(self.sequences) - 1)
        self.sequences.pop()
        self.cache.drop()
        sequence.row = -1

    def is_stepping(self, sequence: LiveSequence) -> bool:
        """Whether it reads one element in each decode step."""
        return sequence.row < self.stepping_count

    def _fill(self, hole: int, last: int) -> int:
        if hole != last:
            self._move(self.sequences[last], hole)
        return last

    def _move(self, sequence: LiveSequence, row: int) -> None:
        self.cache.copy(sequence.row, row)
        self._place(sequence, row, self._values(sequence.row))

    def _values(self, row: int) -> list[NDArray[np.generic]]:
        return [array[row].copy() for array in self._by_row]

    def _place(self, sequence: LiveSequence, row: int, values: list[NDArray[np.generic]]) -> None:
        for array, value in zip(self._by_row, values, strict=True):
            array[row] = value
        self.sequences[row] = sequence
        sequence.row = row
