"""Shared memory of one frontend: its rows for the workers, and the outputs they write back.

The frontend owns the arena and alone decides which request may use which part, so nothing here is
locked across processes.
"""

import mmap
import os

import numpy as np
from numpy.typing import NDArray

from service.ipc.slot_layout import TensorPlace

# The first byte of a slot's header, written by the worker, read by the frontend when the worker has
# died.
_RUNNING = 1


def bytes_of(array: NDArray[np.generic]) -> memoryview:
    """The memory of a contiguous array, flat."""
    return array.reshape(-1).view(np.uint8).data


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
