"""Prefill: how histories are read, in chunks of their own runs or inside the decode steps.

*Chunked prefill* reads up to a chunk of several histories in one run. *Piggybacked prefill* reads
one element of a history in each decode step of the other sequences.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.sections import SequenceSection
from service.worker.decoding.live_sequence import LiveSequence
from service.worker.decoding.row_table import RowTable
from service.worker.session import Array

_WORTH_PADDING = 8  # a padded run of b elements costs less than 8 of 1, so b / 8 are worth one


class PrefillSizes:
    """The sizes of prefill runs that an artifact supports."""

    def __init__(self, manifest: Manifest) -> None:
        section = manifest.sequence
        assert section is not None
        self._sizes = sorted({bucket.get("time", 1) for bucket in manifest.buckets} | {1})
        self._context = section.context
        # Padding in a KV cache lies behind the position and is never seen. A recurrent state would
        # have read the padding.
        self._can_pad = bool(section.states) and all(
            state.update == "append" for state in section.states
        )

    @property
    def largest(self) -> int:
        """The most elements of one history that an iteration reads."""
        return self._sizes[-1]

    def next_size(self, left: int, position: int) -> int:
        """How many elements the next run reads.

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


class ChunkedPrefill:
    """Groups sequences for prefill runs.

    Args:
        manifest: of the model.
        table: the live sequences.
        max_batch_size: the most rows in one run.
    """

    def __init__(self, manifest: Manifest, table: RowTable, max_batch_size: int) -> None:
        self._sizes = PrefillSizes(manifest)
        self._table = table
        self._max_batch_size = max_batch_size

    @property
    def largest(self) -> int:
        """The most elements of one history that an iteration reads."""
        return self._sizes.largest

    def next_size(self, sequence: LiveSequence) -> int:
        """How many elements of its history the next run reads."""
        position = int(self._table.cache.position[sequence.row])
        return self._sizes.next_size(sequence.history_left, position)

    def group(self, first: LiveSequence, size: int) -> list[LiveSequence]:
        """``first`` and its neighbours whose next run reads ``size`` elements, too."""
        if first.entry.ticket.alone:
            return [first]
        group: list[LiveSequence] = []
        for each in self._table.sequences[first.row : first.row + self._max_batch_size]:
            if self.next_size(each) != size or each.entry.ticket.alone:
                break
            group.append(each)
        return group

    def elements_of(self, group: Sequence[LiveSequence], size: int) -> tuple[Array, list[int]]:
        """What a group reads next.

        Returns:
            The elements, ``[len(group), size, ...]``; for each sequence, how many are no padding.
        """
        own = self._table.elements
        elements = np.zeros((len(group), size, *own.shape[2:]), own.dtype)
        lengths: list[int] = []
        for row, sequence in zip(elements, group, strict=True):
            part = sequence.history[sequence.prefilled : sequence.prefilled + size]
            row[: len(part)] = part
            lengths.append(len(part))
        return elements, lengths


class PiggybackedPrefill:
    """The stepping sequences that still read their histories."""

    def __init__(self, table: RowTable, section: SequenceSection) -> None:
        self._table = table
        self._section = section
        self._sequences: list[LiveSequence] = []

    def add(self, sequence: LiveSequence) -> None:
        """Its next decode step reads the next element of its history."""
        self._sequences.append(sequence)

    def clear(self) -> None:
        """Forget all; no sequence is live."""
        self._sequences = []

    def put_elements(self) -> None:
        """Write what each reads next into the table; for frames also the overlap."""
        table, overlap = self._table, self._section.overlap
        self._sequences = [each for each in self._sequences if each.row >= 0]
        for each in self._sequences:
            if self._section.frame:
                table.elements[each.row, overlap:] = each.history[each.prefilled]
            else:
                table.elements[each.row, 0] = each.history[each.prefilled]
        if overlap:
            count = table.stepping_count
            table.elements[:count, :overlap] = table.cache.tail(0, count)

    def note_read(self) -> int:
        """Count the elements that the decode step has read; returns how many."""
        for each in self._sequences:
            each.prefilled += 1
        read = len(self._sequences)
        self._sequences = [each for each in self._sequences if each.history_left]
        return read

    def leave_out(
        self, sequences: Sequence[LiveSequence], outputs: NDArray[Any]
    ) -> tuple[Sequence[LiveSequence], NDArray[Any]]:
        """Remove the sequences that have not read all of their histories, and their outputs."""
        if not self._sequences:
            return sequences, outputs
        still = {each.row for each in self._sequences}
        kept = [row for row in range(len(sequences)) if row not in still]
        return [sequences[row] for row in kept], outputs[kept]
