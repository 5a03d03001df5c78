"""What decoding may take of a frontend's memory, over all images that are decoded at once."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

BYTES_PER_PIXEL = 16
"""The most that a decoder takes for each pixel that a file declares (ADR 0003)."""
SMALL_BYTES = 64 << 20
"""Images that take no more are not counted: there are as many at once as calls, and calls are
bounded."""

_CHECK_INTERVAL_S = 0.2


class DecodeMemory:
    """Lets large images wait for each other, instead of the process for the system's mercy."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = self._free = capacity_bytes
        self._changed = threading.Condition()

    @contextmanager
    def for_pixels(self, pixels: int, check: Callable[[], None] = lambda: None) -> Generator[None]:
        """Hold what decoding so many pixels may take; wait while others hold too much.

        An image that alone would take more than there is waits until it is the only one.

        Args:
            pixels: as many as the file declares.
            check: called again and again while it waits; what it raises ends that.
        """
        needed = pixels * BYTES_PER_PIXEL
        if needed <= SMALL_BYTES:
            yield
            return
        needed = min(needed, self._capacity)
        with self._changed:
            while not self._changed.wait_for(lambda: self._free >= needed, _CHECK_INTERVAL_S):
                check()
            self._free -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()
