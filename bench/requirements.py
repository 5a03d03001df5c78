"""The promises: ratios that the service must reach, checked against a run."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Cell, Photo, Results

Measure = Callable[[Results], float | None]


@dataclass(frozen=True)
class Requirement:
    """One promise."""

    text: str
    at_least: float
    measure: Measure


@dataclass(frozen=True)
class Verdict:
    """A promise and its figure; ``measured`` is None where the run has not measured it."""

    text: str
    at_least: float
    measured: float | None

    @property
    def holds(self) -> bool | None:
        """Whether it was kept."""
        return None if self.measured is None else self.measured >= self.at_least


def _cell(model: str, photo: Photo, *, items: int = 1, messages: int = 1, in_flight: int) -> Cell:
    return Cell(model=model, photo=photo, items=items, messages=messages, in_flight=in_flight)


def _efficiency(cell: Cell) -> Measure:
    return lambda results: results.efficiency(cell)


def _ratio(cell: Cell, reference: Cell) -> Measure:
    return lambda results: results.ratio(cell, reference)


_RESNET = _cell("resnet50", Photo.RAW, in_flight=32)
_JPEG = _cell("thin224", Photo.JPEG, in_flight=32)
_JPEG_12MP = _cell("thin224", Photo.JPEG_12MP, in_flight=8)
_TINY = _cell("tinycnn", Photo.RAW, in_flight=32)
_TINY_16 = _cell("tinycnn", Photo.RAW, items=16, in_flight=32)
_TINY_STREAM = _cell("tinycnn", Photo.RAW, items=16, messages=64, in_flight=4)

REQUIREMENTS = (
    Requirement("resnet50, 32 in flight: efficiency", 0.95, _efficiency(_RESNET)),
    Requirement("thin224 from 500x375 JPEG, 32 in flight: efficiency", 0.8, _efficiency(_JPEG)),
    Requirement("tinycnn, 16 items a call, 32 in flight: efficiency", 0.5, _efficiency(_TINY_16)),
    Requirement("500x375 JPEG to thin224's label: rate / baseline", 3, _ratio(_JPEG, _JPEG)),
    Requirement(
        "12 MP JPEG to thin224's label: rate / baseline", 6, _ratio(_JPEG_12MP, _JPEG_12MP)
    ),
    Requirement("tinycnn, one item a call: rate / baseline", 1.6, _ratio(_TINY, _TINY)),
    Requirement(
        "tinycnn, 16 items a call: rate / baseline at one item a call", 8, _ratio(_TINY_16, _TINY)
    ),
    Requirement(
        "tinycnn, stream of 16 items a message: rate / baseline at one item a call",
        8,
        _ratio(_TINY_STREAM, _TINY),
    ),
)


def verdicts(results: Results) -> list[Verdict]:
    """Every promise with its measured figure."""
    return [Verdict(each.text, each.at_least, each.measure(results)) for each in REQUIREMENTS]
