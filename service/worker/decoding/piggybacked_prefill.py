"""Histories, or what is left of them, that are read one element a step in the others' runs."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from service.artifact.sections import SequenceSection
from service.worker.decoding.live_sequence import Live
from service.worker.decoding.row_table import Rows


class Feeding:
    """Who reads so."""

    def __init__(self, rows: Rows, section: SequenceSection) -> None:
        self._rows = rows
        self._section = section
        self._lives: list[Live] = []

    def add(self, live: Live) -> None:
        """Its next step reads the next element of its history."""
        self._lives.append(live)

    def clear(self) -> None:
        """Nobody is live."""
        self._lives = []

    def put_elements(self) -> None:
        """Write what each reads next to where the next run finds it; of frames the overlap, too."""
        rows, overlap = self._rows, self._section.overlap
        self._lives = [live for live in self._lives if live.row >= 0]
        for live in self._lives:
            if self._section.frame:
                rows.elements[live.row, overlap:] = live.history[live.fed]
            else:
                rows.elements[live.row, 0] = live.history[live.fed]
        if overlap:
            rows.elements[: rows.stepping, :overlap] = rows.state.tail(0, rows.stepping)

    def note_read(self) -> int:
        """The run is over; returns how many elements of histories it has read."""
        for live in self._lives:
            live.fed += 1
        read = len(self._lives)
        self._lives = [live for live in self._lives if live.left]
        return read

    def leave_out(
        self, lives: Sequence[Live], answers: NDArray[Any]
    ) -> tuple[Sequence[Live], NDArray[Any]]:
        """Without those who have not read all of their histories yet."""
        if not self._lives:
            return lives, answers
        still = {live.row for live in self._lives}
        kept = [row for row in range(len(lives)) if row not in still]
        return [lives[row] for row in kept], answers[kept]
