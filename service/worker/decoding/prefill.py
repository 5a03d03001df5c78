"""How histories are cut into runs, and which of them share one."""

from collections.abc import Sequence

import numpy as np

from service.artifact.manifest import Manifest
from service.worker.decoding.live_sequence import Live
from service.worker.decoding.row_table import Rows
from service.worker.session import Array

_WORTH_PADDING = 8  # a run of b steps is worth it for b / 8 of them: it costs less than 8 runs of 1


class Cuts:
    """The sizes of runs that an artifact is proved for."""

    def __init__(self, manifest: Manifest) -> None:
        section = manifest.sequence
        assert section is not None
        self._sizes = sorted({bucket.get("time", 1) for bucket in manifest.buckets} | {1})
        self._context = section.context
        # What a run adds to a state that grows lies beyond the position until it is counted; a
        # state that is replaced has seen the padding.
        self._can_pad = bool(section.states) and all(
            state.update == "append" for state in section.states
        )

    @property
    def largest(self) -> int:
        """Elements of one history that a turn reads at most."""
        return self._sizes[-1]

    def next_size(self, left: int, position: int) -> int:
        """How many elements to give to one run.

        Args:
            left: elements of the history that are still to be read, 1 or more.
            position: elements that the sequence has read.
        """
        fitting = max(size for size in self._sizes if size <= max(1, left))
        if self._can_pad and left > 1 and fitting < left:
            for size in self._sizes:
                if size >= left and position + size <= self._context:
                    return size if left * _WORTH_PADDING >= size else fitting
        return fitting


class Readers:
    """The live sequences that read their histories.

    Args:
        manifest: of the model.
        rows: the live sequences.
        most: rows in one run, at most.
    """

    def __init__(self, manifest: Manifest, rows: Rows, most: int) -> None:
        self._cuts = Cuts(manifest)
        self._rows = rows
        self._most = most

    @property
    def largest(self) -> int:
        """Elements of one history that a turn reads at most."""
        return self._cuts.largest

    def next_size(self, live: Live) -> int:
        """How many elements of its history to give to one run."""
        return self._cuts.next_size(live.left, int(self._rows.state.position[live.row]))

    def like(self, first: Live, size: int) -> list[Live]:
        """``first`` and its neighbours that read as many elements next."""
        if first.entry.ticket.alone:
            return [first]
        group: list[Live] = []
        for live in self._rows.lives[first.row : first.row + self._most]:
            if self.next_size(live) != size or live.entry.ticket.alone:
                break
            group.append(live)
        return group

    def elements_of(self, group: Sequence[Live], size: int) -> tuple[Array, list[int]]:
        """What they read next, ``[len(group), size, ...]``, and how much of it is no padding."""
        own = self._rows.elements
        elements = np.zeros((len(group), size, *own.shape[2:]), own.dtype)
        lengths: list[int] = []
        for row, live in zip(elements, group, strict=True):
            part = live.history[live.fed : live.fed + size]
            row[: len(part)] = part
            lengths.append(len(part))
        return elements, lengths
