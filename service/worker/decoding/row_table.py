"""Who has which row: sequences that make steps first, behind them those that read their history.

Both are runs of neighbouring rows, so each run of the model takes its rows where they lie. A row
that becomes free is filled from the end.
"""

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.ipc.sequence_slot import ElementLayout
from service.worker.decoding.live_sequence import Live
from service.worker.decoding.state_cache import Snapshot, StateRows


class Rows:
    """Up to ``max_rows`` live sequences.

    The arrays have one entry a row.

    Attributes:
        version: another one whenever somebody's row has changed.
        elements: what each row reads next, in the shape of the graph's first input at one step.
        next_word: where its next step goes, in words of its frontend's arena.
        count_word: where the number of its steps goes.
        step_words: how long a step is.
        made: how many steps it has.
        left: how many it may still make.
    """

    def __init__(self, manifest: Manifest, element_layout: ElementLayout, max_rows: int) -> None:
        section = manifest.sequence
        assert section is not None
        self.element_layout = element_layout
        self.state = StateRows(manifest, max_rows)
        self.lives: list[Live] = []
        self.stepping = 0
        self.version = 0
        self._deadline_ns: int | None = None
        self._deadline_of = 0  # the version
        dtype = manifest.inputs[0].dtype
        if section.frame:
            self.elements = np.zeros((max_rows, section.overlap + section.frame), dtype)
        elif element_layout.is_tokens:
            self.elements = np.zeros((max_rows, 1), dtype)
        else:
            self.elements = np.zeros((max_rows, 1, element_layout.element_words), dtype)
        self.next_word, self.count_word, self.step_words, self.made, self.left = (
            np.zeros(max_rows, np.int64) for _ in range(5)
        )
        self._by_row = (
            *(self.elements, self.next_word, self.count_word, self.step_words),
            *(self.made, self.left),
        )

    @property
    def next_deadline_ns(self) -> int | None:
        """The earliest of those that are live; None when nobody is."""
        if self._deadline_of != self.version:
            deadlines = (live.entry.ticket.deadline_ns for live in self.lives)
            self._deadline_ns, self._deadline_of = min(deadlines, default=None), self.version
        return self._deadline_ns

    def add(self, live: Live, snapshot: Snapshot | None = None) -> None:
        """Give a newcomer the row behind all others."""
        self.version += 1
        row = live.row = len(self.lives)
        self.lives.append(live)
        self.state.add()
        if snapshot is not None:
            self.state.restore(row, snapshot)
        self.next_word[row] = live.first_word
        self.count_word[row] = live.count_word
        self.step_words[row] = live.slot.layout.step_words
        self.made[row] = live.made_before
        self.left[row] = live.plan.steps - live.made_before

    def start_steps(self, live: Live) -> None:
        """It has read its history, or will read the rest step by step."""
        self.version += 1
        first = self.lives[self.stepping]
        if first is not live:
            saved, values = self.state.save(live.row), self._values(live.row)
            self._move(first, live.row)
            self._place(live, self.stepping, values)
            self.state.restore(live.row, saved)
        self.stepping += 1

    def remove(self, live: Live) -> None:
        """Free its row."""
        self.version += 1
        hole = live.row
        if hole < self.stepping:
            self.stepping -= 1
            hole = self._fill(hole, self.stepping)
        self._fill(hole, len(self.lives) - 1)
        self.lives.pop()
        self.state.drop()
        live.row = -1

    def is_stepping(self, live: Live) -> bool:
        """Whether it makes steps, or reads its history one element a step."""
        return live.row < self.stepping

    def _fill(self, hole: int, last: int) -> int:
        if hole != last:
            self._move(self.lives[last], hole)
        return last

    def _move(self, live: Live, row: int) -> None:
        self.state.copy(live.row, row)
        self._place(live, row, self._values(live.row))

    def _values(self, row: int) -> list[NDArray[np.generic]]:
        return [array[row].copy() for array in self._by_row]

    def _place(self, live: Live, row: int, values: list[NDArray[np.generic]]) -> None:
        for array, value in zip(self._by_row, values, strict=True):
            array[row] = value
        self.lives[row] = live
        live.row = row
