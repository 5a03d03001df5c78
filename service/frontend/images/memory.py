"""A limit on the memory for decoding, over all images that a frontend decodes at once."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

BYTES_PER_PIXEL = 16
"""The most memory that a decoder takes for each pixel that a file declares (ADR 0003)."""
SMALL_BYTES = 64 << 20
"""Images that need at most this are not counted: their number is bounded by the number of calls."""

_CHECK_INTERVAL_S = 0.2


class DecodeMemory:
    """Makes large images wait for each other, so that the process never runs out of memory."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = self._free = capacity_bytes
        self._changed = threading.Condition()

    @contextmanager
    def for_pixels(self, pixels: int, check: Callable[[], None] = lambda: None) -> Generator[None]:
        """Reserve the memory for decoding this many pixels; wait while other images hold too much.

        An image that needs more than the whole capacity waits until it is the only one.

        Args:
            pixels: that the file declares.
            check: called repeatedly while waiting; may raise to stop.
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
