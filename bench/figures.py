"""The arithmetic of the report: quantiles, spreads, the floor and the efficiency."""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    """A figure over several rounds."""

    median: float
    lowest: float
    highest: float


def spread(rounds: Sequence[float]) -> Spread:
    """Median, lowest and highest of at least one round."""
    return Spread(median(rounds), min(rounds), max(rounds))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0..1] of all values do not exceed."""
    if not values:
        raise ValueError("the quantile of nothing is undefined; measure at least one request")
    ranked = sorted(values)
    return ranked[max(math.ceil(share * len(ranked)), 1) - 1]


def floor_cpu_s(transport_s: float, decode_s: float, run_s: float) -> float:
    """The least CPU one item can cost: an empty call's share, the bare decoder, the bare run."""
    return transport_s + decode_s + run_s


def efficiency(floor_s: float, service_s: float) -> float:
    """The floor as a share of the CPU time that an item costs in the service; 1 is perfect."""
    return floor_s / service_s
