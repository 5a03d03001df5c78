"""Metrics of finished requests, collected in memory and written a few times a second.

Observing five histograms in files that other processes read costs a small request a tenth of its
CPU time. Adding up the requests of a quarter of a second and writing the sums costs almost nothing.
A frontend that is killed loses the metrics that it collected since the last flush.
"""

from bisect import bisect_left
from collections import Counter, deque
from functools import lru_cache
from typing import Any, NamedTuple

from service import metrics

FLUSH_INTERVAL_S = 0.25


class Stages(NamedTuple):
    """Seconds that one answered request spent in each stage."""

    decode: float
    queue: float
    run: float
    post: float
    total: float


class RequestMetrics:
    """Any thread adds, one thread flushes.

    A deque takes and returns each entry once without a lock.
    """

    def __init__(self) -> None:
        self._rpcs: deque[tuple[str, str, str]] = deque()
        self._items: deque[tuple[str, str, int]] = deque()
        self._stages: deque[tuple[str, Stages]] = deque()

    def add_rpc(self, method: str, model: str, code: str) -> None:
        """An RPC has ended."""
        self._rpcs.append((method, model, code))

    def add_items(self, model: str, code: str, count: int) -> None:
        """This many items of a request have ended with the same code."""
        self._items.append((model, code, count))

    def add_stages(self, model: str, seconds: Stages) -> None:
        """A request was answered."""
        self._stages.append((model, seconds))

    def flush(self) -> None:
        """Write the collected metrics. Stages come first: a counted request then has its stages."""
        observations: dict[tuple[str, str], list[float]] = {}
        for model, seconds in _take_all(self._stages):
            for stage, value in zip(Stages._fields, seconds, strict=True):
                observations.setdefault((model, stage), []).append(value)
        for (model, stage), values in observations.items():
            _observe_all(_histogram(model, stage), values)
        items: Counter[tuple[str, str]] = Counter()
        for model, code, count in _take_all(self._items):
            items[model, code] += count
        for labels, count in items.items():
            metrics.ITEMS.labels(*labels).inc(count)
        for labels, count in Counter(_take_all(self._rpcs)).items():
            metrics.REQUESTS.labels(*labels).inc(count)


def _take_all(entries: deque[Any]) -> list[Any]:
    """Remove and return the entries that are there now."""
    return [entries.popleft() for _ in range(len(entries))]


@lru_cache(maxsize=4096)
def _histogram(model: str, stage: str) -> Any:
    return metrics.STAGE_DURATION.labels(model, stage)


def _observe_all(histogram: Any, values: list[float]) -> None:
    """``histogram.observe`` for many values at once; prometheus-client has no method for it."""
    bounds: list[float] = histogram._upper_bounds
    buckets = Counter(bisect_left(bounds, value) for value in values)
    for index, count in buckets.items():
        histogram._buckets[index].inc(count)
    histogram._sum.inc(sum(values))
