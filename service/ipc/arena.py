"""Shared memory of one frontend: its rows for the workers, and the outputs they write back.

The frontend owns the arena and alone decides who may use which part of it, so nothing here is
locked across processes. A *slot* is the part that one request uses: a header, then its inputs, then
its outputs.
"""

import bisect
import mmap
import os
import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest, TensorSpec

_ALIGNMENT = 64  # a cache line: neighbours never share one
_HEADER_BYTES = 64

# The header's first byte, written by the worker, read by the frontend when the worker has died.
_RUNNING = 1


class ArenaFull(Exception):
    """No part of the arena is large enough."""


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def bytes_of(array: NDArray[np.generic]) -> memoryview:
    """The memory of a contiguous array, flat."""
    return array.reshape(-1).view(np.uint8).data


class Variant(NamedTuple):
    """What a run computes beside the rows: only requests of one variant share a run."""

    bucket: int = 0
    """Which of the manifest's ``shapes``."""
    with_optional: bool = False
    """Whether outputs that are made on request are among the outputs."""

    @property
    def number(self) -> int:
        """As tickets carry it, 0 to 65,535."""
        return 2 * self.bucket + self.with_optional

    @classmethod
    def of(cls, number: int) -> "Variant":
        """The variant with that number."""
        return cls(number >> 1, bool(number & 1))


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where one tensor lies in a slot."""

    offset: int  # bytes from the slot's start
    shape: tuple[int, ...]  # [rows, ...]
    dtype: np.dtype[np.generic]
    row_bytes: int


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where the tensors of a request of ``rows`` items lie in its slot.

    Both sides compute it alike.
    """

    inputs: tuple[TensorPlace, ...]
    outputs: tuple[TensorPlace, ...]
    size: int  # bytes

    @classmethod
    def of(cls, manifest: Manifest, rows: int, variant: int = 0) -> "SlotLayout":
        """The layout for ``rows`` items of a model; ``variant`` is a `Variant`'s number."""
        offset = _HEADER_BYTES
        index, with_optional = Variant.of(variant)
        bucket = manifest.shapes[index]

        def place(spec: TensorSpec) -> TensorPlace:
            nonlocal offset
            shape, dtype = (rows, *spec.row_shape(bucket)), np.dtype(spec.dtype)
            row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
            placed = TensorPlace(offset, shape, dtype, row_bytes)
            offset += _aligned(rows * row_bytes)
            return placed

        inputs = tuple(place(spec) for spec in manifest.inputs)
        outputs = manifest.outputs_of(with_optional=with_optional)
        return cls(inputs, tuple(place(spec) for spec in outputs), offset)


class Arena:
    """A piece of anonymous shared memory (a memfd), mapped into this process."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._map = mmap.mmap(fd, size)
        self.bytes = memoryview(self._map)

    @classmethod
    def create(cls, size: int) -> "Arena":
        """Make a new one of ``size`` bytes; pages are taken from the system when first touched."""
        fd = os.memfd_create("sightline-arena", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        return cls(fd, size)

    @classmethod
    def attach(cls, fd: int) -> "Arena":
        """Map the one behind ``fd``, which stays the caller's to close."""
        return cls(fd, os.fstat(fd).st_size)

    def tensor(self, slot: int, place: TensorPlace) -> NDArray[np.generic]:
        """The array at ``place`` of the slot that starts at byte ``slot``; a view."""
        return np.ndarray(place.shape, place.dtype, self._map, slot + place.offset)

    def rows(self, slot: int, place: TensorPlace, start: int, stop: int) -> memoryview:
        """The bytes of rows ``start:stop`` of a tensor: to copy them costs less than an array."""
        begin = slot + place.offset
        return self.bytes[begin + start * place.row_bytes : begin + stop * place.row_bytes]

    def mark_running(self, slot: int) -> None:
        """The worker's note that from now on this request could be what kills it."""
        self.bytes[slot] = _RUNNING

    def mark_queued(self, slot: int) -> None:
        """The frontend's note, before it submits."""
        self.bytes[slot] = 0

    def is_running(self, slot: int) -> bool:
        """Whether a worker had begun to run this request."""
        return self.bytes[slot] == _RUNNING


class SlotAllocator:
    """Hands out parts of ``[0, capacity)`` bytes: first fit, so that warm ones are used again.

    Neighbouring free parts are joined as they are released. Safe to call from many threads.
    """

    def __init__(self, capacity: int) -> None:
        self._lock = threading.Lock()
        self._free: list[tuple[int, int]] = [
            (0, capacity)
        ]  # (start, size), by start, never touching
        self.capacity = capacity
        self.used_bytes = 0
        self.slots_in_use = 0

    def allocate(self, size: int) -> int:
        """Take ``size`` bytes.

        Returns:
            Where they start.

        Raises:
            ArenaFull: there is no free part that large.
        """
        size = _aligned(size)
        with self._lock:
            for index, (start, free) in enumerate(self._free):
                if free >= size:
                    if free == size:
                        del self._free[index]
                    else:
                        self._free[index] = (start + size, free - size)
                    self.used_bytes += size
                    self.slots_in_use += 1
                    return start
        raise ArenaFull(f"no {size} bytes of {self.capacity} are free in one piece")

    def release(self, start: int, size: int) -> None:
        """Give back what :meth:`allocate` returned for ``size``."""
        size = _aligned(size)
        with self._lock:
            self.used_bytes -= size
            self.slots_in_use -= 1
            index = bisect.bisect(self._free, (start, 0))
            if index < len(self._free) and start + size == self._free[index][0]:
                size += self._free.pop(index)[1]
            if index and sum(self._free[index - 1]) == start:
                start, before = self._free[index - 1][0], self._free[index - 1][1]
                self._free[index - 1] = (start, before + size)
            else:
                self._free.insert(index, (start, size))
