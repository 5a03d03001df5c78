"""Shared memory of one frontend: inputs for the workers, and the outputs that they write back.

The frontend owns the arena. It alone decides which request may use which part, so no lock is shared
between processes.
"""

import mmap
import os

import numpy as np
from numpy.typing import NDArray

from service.ipc.slot_layout import TensorPlace

# The first byte of a slot's header. The worker writes it; the frontend reads it after the worker's
# death.
_RUNNING = 1


def bytes_of(array: NDArray[np.generic]) -> memoryview:
    """The memory of a contiguous array, flat."""
    return array.reshape(-1).view(np.uint8).data


class Arena:
    """Anonymous shared memory (a memfd), mapped into this process."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._map = mmap.mmap(fd, size)
        self.bytes = memoryview(self._map)

    @classmethod
    def create(cls, size: int) -> "Arena":
        """Create an arena of ``size`` bytes; the system allocates a page at its first use."""
        fd = os.memfd_create("sightline-arena", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        return cls(fd, size)

    @classmethod
    def attach(cls, fd: int) -> "Arena":
        """Map the arena behind ``fd``; the caller still has to close ``fd``."""
        return cls(fd, os.fstat(fd).st_size)

    def tensor(self, slot: int, place: TensorPlace) -> NDArray[np.generic]:
        """The array at ``place`` of the slot that starts at byte ``slot``; a view."""
        return np.ndarray(place.shape, place.dtype, self._map, slot + place.offset)

    def rows(self, slot: int, place: TensorPlace, start: int, stop: int) -> memoryview:
        """The bytes of rows ``start:stop`` of a tensor; faster to copy than an array."""
        begin = slot + place.offset
        return self.bytes[begin + start * place.row_bytes : begin + stop * place.row_bytes]

    def mark_running(self, slot: int) -> None:
        """Note, as the worker, that this request is being run and could crash the worker."""
        self.bytes[slot] = _RUNNING

    def mark_queued(self, slot: int) -> None:
        """Note, as the frontend before it submits, that this request is not being run."""
        self.bytes[slot] = 0

    def is_running(self, slot: int) -> bool:
        """Whether a worker has begun to run this request."""
        return self.bytes[slot] == _RUNNING
