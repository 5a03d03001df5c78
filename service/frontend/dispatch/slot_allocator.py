"""Which parts of the arena are free."""

import bisect
import threading

from service.ipc.slot_layout import aligned


class ArenaFull(Exception):
    """No free part of the arena is large enough."""


class SlotAllocator:
    """Allocates parts of ``[0, capacity)`` bytes, first fit: recently used memory is reused.

    Neighbouring free parts are merged on release. Safe to call from many threads.
    """

    def __init__(self, capacity: int) -> None:
        self._lock = threading.Lock()
        # (start, size), sorted by start; two free parts are never adjacent.
        self._free: list[tuple[int, int]] = [(0, capacity)]
        self.capacity = capacity
        self.used_bytes = 0
        self.slots_in_use = 0

    def allocate(self, size: int) -> int:
        """Take ``size`` bytes.

        Returns:
            Where they start.

        Raises:
            ArenaFull: no free part is large enough.
        """
        size = aligned(size)
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
        raise ArenaFull(f"no {size} contiguous bytes of {self.capacity} are free")

    def release(self, start: int, size: int) -> None:
        """Give back what :meth:`allocate` returned for ``size``."""
        size = aligned(size)
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
