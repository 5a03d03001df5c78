"""How many requests for a model there seem to be at once.

A worker with room in its next batch waits a moment for more only where more are to be expected.
"""

import time
from collections.abc import Callable

_HALF_LIFE_NS = 10_000_000
"""Of the memory of those who were answered: who asks again does so in a few milliseconds."""


class Callers:
    """Of one frontend; safe to use from many threads."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._under_way: dict[int, set[object]] = {}
        self._lately: dict[int, tuple[float, int]] = {}  # how many, and when that was

    def of(self, model_id: int) -> set[object]:
        """The requests for a model that are being answered; they enter and leave it themselves."""
        return self._under_way.setdefault(model_id, set())

    def count(self, model_id: int) -> float:
        """The most at once lately; those who are not there any more count less and less."""
        now_ns = self._clock_ns()
        lately, then_ns = self._lately.get(model_id, (0.0, now_ns))
        lately *= 0.5 ** ((now_ns - then_ns) / _HALF_LIFE_NS)
        lately = max(float(len(self.of(model_id))), lately)
        self._lately[model_id] = lately, now_ns
        return lately
