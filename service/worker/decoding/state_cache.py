"""The states of live sequences, one row each, which a run reads in place.

A run of the rows ``start:stop`` reads views of these arrays. A *recurrent state* is written back as
a whole, a few kB a row. Of a *KV cache* (an attention's keys and values) only the new time steps
are written, for each row at its own position. Where the graph has buckets for shorter pasts, the
rows of a KV cache are only as long as the longest sequence needs, because a run reads all of each
row: a row of 256 steps costs a small Transformer as much as its weights.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest, TensorSpec
from service.artifact.sections import SequenceSection
from service.worker.session import Array

Snapshot = list[NDArray[Any]]
"""One row of every array; of a KV cache only the steps that are filled."""

_SHRINK_BELOW = 0.5
"""The rows of a KV cache become shorter when at most this share of them is needed. Moving them
costs one or two iterations, so it should not alternate."""


class RecurrentState(NamedTuple):
    """A state that each run replaces."""

    name: str
    rows: Array  # [max_rows, ...]
    output: int


class KvState:
    """A KV cache: rows of ``past`` steps, at the beginning of memory for the whole context."""

    def __init__(self, spec: TensorSpec, max_rows: int, context: int, output: int, axis: int):
        self.name = spec.name
        self.output = output
        # The axes of rows and outputs with time second: a third of the cost of `np.moveaxis`.
        self._order = (0, axis, *(each for each in range(1, len(spec.axes)) if each != axis))
        self._spec = spec
        shape = (max_rows, *spec.row_shape({"past": context}))
        self._max_rows = max_rows
        self._memory = np.zeros(math.prod(shape), spec.dtype)
        self._set_past(context)

    def _set_past(self, past: int) -> None:
        shape = (self._max_rows, *self._spec.row_shape({"past": past}))
        self.rows: Array = self._memory[: math.prod(shape)].reshape(shape)
        self.by_time: NDArray[Any] = self.rows.transpose(self._order)  # [max_rows, past, ...]

    def resize(self, past: int, rows: int, filled: int) -> None:
        """Make rows ``past`` steps long; the first ``rows`` keep their first ``filled`` steps.

        The rest of these rows is set to zero, because old values there might not be finite.
        """
        kept = self.by_time[:rows, :filled].copy()
        self._set_past(past)
        self.by_time[:rows, : kept.shape[1]] = kept
        self.by_time[:rows, kept.shape[1] :] = 0

    def new(self, outputs: Sequence[Array]) -> NDArray[Any]:
        """The time steps that a run has added, ``[rows, T, ...]``."""
        return outputs[self.output].transpose(self._order)


def row_bytes(manifest: Manifest) -> int:
    """The most memory that one sequence's state takes."""
    section = manifest.sequence
    assert section is not None
    whole = {"past": section.context}
    return sum(
        math.prod(spec.row_shape(whole)) * np.dtype(spec.dtype).itemsize
        for spec in manifest.inputs[1:]
    )


class StateCache:
    """States of up to ``max_rows`` sequences; `RowTable` decides which sequence has which row.

    Attributes:
        position: elements that each row has read; 0 for a free row.
        past: how many steps each row of a KV cache has room for.
    """

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        section = manifest.sequence
        assert section is not None
        self.position = np.zeros(max_rows, np.int64)
        self._tail = np.zeros((max_rows, section.overlap), np.float32)
        self._names = [spec.name for spec in manifest.inputs[1:]]
        self._recurrent, self._kv = _states(manifest, section, max_rows)
        self._small = [*(state.rows for state in self._recurrent), self._tail, self.position]
        self._position_input = section.position_input
        self._row_numbers = np.arange(max_rows)
        sizes = {bucket["past"] for bucket in manifest.buckets if "past" in bucket}
        self._pasts = sorted(sizes | {section.context})
        self.past = section.context
        self._taken = 0
        self._clean = max_rows  # rows in front of this one hold only finite values
        self._inputs = self._list_inputs()
        self.reserve(1)

    def reserve(self, steps: int) -> None:
        """Make room for ``steps`` more time steps of each sequence, before they are run.

        Earlier views are no longer valid.
        """
        if len(self._pasts) == 1:
            return
        filled = int(self.position.max())
        needed = filled + steps
        if self.past * _SHRINK_BELOW < needed <= self.past:
            return
        past = next((size for size in self._pasts if size >= needed), self._pasts[-1])
        if past != self.past:
            for state in self._kv:
                state.resize(past, self._taken, filled)
            self._clean = self._taken
            self.past, self._inputs = past, self._list_inputs()

    def _list_inputs(self) -> list[Array]:
        by_name = {state.name: state.rows for state in (*self._recurrent, *self._kv)}
        by_name[self._position_input] = self.position
        return [by_name[name] for name in self._names]

    def feeds(self, start: int, stop: int) -> list[Array]:
        """The inputs behind the first one, of rows ``start:stop``; views."""
        return [array[start:stop] for array in self._inputs]

    def tail(self, start: int, stop: int) -> NDArray[np.float32]:
        """Of a graph of frames: the samples in front of each row's next frame; a view."""
        return self._tail[start:stop]

    def store(self, outputs: Sequence[Array], start: int, stop: int) -> None:
        """Store the states that a run of rows ``start:stop`` returned; positions move later."""
        for state in self._recurrent:
            state.rows[start:stop] = outputs[state.output]
        if not self._kv:
            return
        positions = self.position[start:stop]
        for state in self._kv:
            new = state.new(outputs)
            if new.shape[1] == 1:
                state.by_time[self._row_numbers[start:stop], positions] = new[:, 0]
                continue
            for row, position in enumerate(positions.tolist(), start):
                state.by_time[row, position : position + new.shape[1]] = new[row - start]

    def add(self) -> None:
        """Take the row behind all others for a new sequence.

        A run does not see what lies behind the row's position, as long as it is finite.
        """
        row = self._taken
        self._taken += 1
        self._clear(row)
        if row >= self._clean:
            self._erase_kv(row)
            self._clean = row + 1

    def drop(self) -> None:
        """Free the last row."""
        self._taken -= 1
        self._clear(self._taken)

    def erase(self, row: int) -> None:
        """Clear a row that may hold values that are not finite."""
        self._clear(row)
        self._erase_kv(row)

    def _clear(self, row: int) -> None:
        for array in self._small:
            array[row] = 0

    def _erase_kv(self, row: int) -> None:
        for state in self._kv:
            state.rows[row] = 0

    def copy(self, source: int, target: int) -> None:
        """Overwrite a row with another."""
        self.reorder(np.array([target]), np.array([source]))

    def reorder(self, rows: NDArray[np.intp], sources: NDArray[np.intp]) -> None:
        """Overwrite ``rows`` with ``sources``, all at once."""
        filled = int(self.position[sources].max())
        for array in self._small:
            array[rows] = array[sources]
        for state in self._kv:
            state.by_time[rows, :filled] = state.by_time[sources, :filled]

    def save(self, row: int) -> Snapshot:
        """A copy of a row."""
        filled = int(self.position[row])
        kv = [state.by_time[row, :filled].copy() for state in self._kv]
        return [*(array[row].copy() for array in self._small), *kv]

    def restore(self, row: int, snapshot: Snapshot) -> None:
        """Overwrite a row with a saved one."""
        for array, saved in zip(self._small, snapshot, strict=False):
            array[row] = saved
        if self._kv:
            self.reserve(0)
        for state, saved in zip(self._kv, snapshot[len(self._small) :], strict=True):
            state.by_time[row, : len(saved)] = saved


def _states(
    manifest: Manifest, section: SequenceSection, max_rows: int
) -> tuple[list[RecurrentState], list[KvState]]:
    specs = {spec.name: spec for spec in manifest.inputs}
    outputs = {spec.name: index for index, spec in enumerate(manifest.outputs)}
    recurrent: list[RecurrentState] = []
    kv: list[KvState] = []
    for state in section.states:
        spec, output = specs[state.input], outputs[state.output]
        if state.update == "replace":
            rows = np.zeros((max_rows, *spec.row_shape()), spec.dtype)
            recurrent.append(RecurrentState(spec.name, rows, output))
        else:
            axis = manifest.outputs[output].axes.index("time")
            kv.append(KvState(spec, max_rows, section.context, output, axis))
    return recurrent, kv
