"""Estimates how many requests for a model are in flight at the same time.

A worker with free rows in its next batch waits a moment for more requests, but only where more can
be expected.
"""

import time
from collections.abc import Callable

_HALF_LIFE_NS = 10_000_000
"""How fast an earlier peak decays. A client that sends again does so in a few milliseconds."""


class ConcurrentRequests:
    """The requests that one frontend is answering; safe to use from many threads."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._in_flight: dict[int, set[object]] = {}
        self._peaks: dict[int, tuple[float, int]] = {}  # how many, and when

    def of(self, model_id: int) -> set[object]:
        """The requests for a model that are being answered; they add and remove themselves."""
        return self._in_flight.setdefault(model_id, set())

    def estimate(self, model_id: int) -> float:
        """The number of requests now, or a recent larger number that decays with time."""
        now_ns = self._clock_ns()
        peak, then_ns = self._peaks.get(model_id, (0.0, now_ns))
        peak *= 0.5 ** ((now_ns - then_ns) / _HALF_LIFE_NS)
        peak = max(float(len(self.of(model_id))), peak)
        self._peaks[model_id] = peak, now_ns
        return peak
