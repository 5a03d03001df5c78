"""The states of live sequences: one row each, side by side, so that a run takes them in place.

A run of the rows ``start:stop`` reads views of these arrays. A state that is replaced is written
back as a whole, a few kB a row; of one that grows (an attention's keys and values) only the new
time steps are written, each row's at its own position.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.manifest import Manifest, SequenceSection
from service.session import Array

Snapshot = list[NDArray[Any]]
"""One row of every array."""


class _Replaced(NamedTuple):
    rows: Array  # [max_rows, ...]
    output: int


class _Appended(NamedTuple):
    by_time: NDArray[Any]  # a view, [max_rows, context, ...]
    output: int
    axis: int  # of time, in the output


def row_bytes(manifest: Manifest) -> int:
    """What one sequence's state takes."""
    return sum(
        int(np.prod(spec.row_shape())) * np.dtype(spec.dtype).itemsize
        for spec in manifest.inputs[1:]
    )


class StateRows:
    """States of up to ``max_rows`` sequences; the caller decides who has which row."""

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        section = manifest.sequence
        assert section is not None
        self.inputs: dict[str, Array] = {
            spec.name: np.zeros((max_rows, *spec.row_shape()), spec.dtype)
            for spec in manifest.inputs[1:]
        }
        self.position = np.zeros(max_rows, np.int64)
        """Elements that each row has read."""
        if section.position_input:
            self.inputs[section.position_input] = self.position
        self._tail = np.zeros((max_rows, section.overlap), np.float32)
        self._arrays = [*self.inputs.values(), self._tail]
        if not section.position_input:
            self._arrays.append(self.position)
        self._names = [spec.name for spec in manifest.inputs[1:]]
        self._replaced, self._appended = _updates(manifest, section, self.inputs)
        self._row_numbers = np.arange(max_rows)

    def feeds(self, start: int, stop: int) -> list[Array]:
        """The inputs behind the first one, of rows ``start:stop``; views."""
        return [self.inputs[name][start:stop] for name in self._names]

    def tail(self, start: int, stop: int) -> NDArray[np.float32]:
        """Of a graph of frames: what goes in front of each row's next frame; a view."""
        return self._tail[start:stop]

    def take(self, outputs: Sequence[Array], start: int, stop: int) -> None:
        """Keep what a run of rows ``start:stop`` gave back, before ``advance``."""
        for rows, output in self._replaced:
            rows[start:stop] = outputs[output]
        if not self._appended:
            return
        positions = self.position[start:stop]
        for by_time, output, axis in self._appended:
            new = np.moveaxis(outputs[output], axis, 1)
            if new.shape[1] == 1:
                by_time[self._row_numbers[start:stop], positions] = new[:, 0]
                continue
            for row, position in enumerate(positions.tolist(), start):
                by_time[row, position : position + new.shape[1]] = new[row - start]

    def clear(self, row: int) -> None:
        """Make a row a new sequence's. What lies in a cache beyond the position is never seen."""
        for rows, _ in self._replaced:
            rows[row] = 0
        self._tail[row] = 0
        self.position[row] = 0

    def copy(self, source: int, target: int) -> None:
        """Overwrite a row with another."""
        for array in self._arrays:
            array[target] = array[source]

    def reorder(self, rows: NDArray[np.intp], sources: NDArray[np.intp]) -> None:
        """Overwrite ``rows`` with ``sources``, all at once."""
        for array in self._arrays:
            array[rows] = array[sources]

    def save(self, row: int) -> Snapshot:
        """A copy of a row."""
        return [array[row].copy() for array in self._arrays]

    def restore(self, row: int, snapshot: Snapshot) -> None:
        """Overwrite a row with a saved one."""
        for array, saved in zip(self._arrays, snapshot, strict=True):
            array[row] = saved


def _updates(
    manifest: Manifest, section: SequenceSection, inputs: dict[str, Array]
) -> tuple[list[_Replaced], list[_Appended]]:
    outputs = {spec.name: index for index, spec in enumerate(manifest.outputs)}
    replaced: list[_Replaced] = []
    appended: list[_Appended] = []
    for state in section.states:
        rows, output = inputs[state.input], outputs[state.output]
        if state.update == "replace":
            replaced.append(_Replaced(rows, output))
        else:
            axis = manifest.outputs[output].axes.index("time")
            appended.append(_Appended(np.moveaxis(rows, axis, 1), output, axis))
    return replaced, appended
