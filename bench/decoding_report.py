"""The tables of `bench.decoding`."""

from typing import NamedTuple

from rich.table import Table

from bench.figures import Spread
from bench.first_token import FirstToken

BENCH_LSTM = "lstm-128"
MODELS = ("shakespeare-transformer", "shakespeare-lstm", BENCH_LSTM)
AT_LEAST = {"shakespeare-transformer": 4.0, "shakespeare-lstm": 6.0, BENCH_LSTM: 20.0}
"""Sixteen at once over one at a time; for the bench's LSTM, sixteen at once over the baseline."""


class Row(NamedTuple):
    """A line of the table; steps a second."""

    model: str
    one: Spread
    sixteen: Spread
    stepped: Spread | None  # by clients of the baseline
    ceiling: float  # bare ONNX Runtime, at its best batch size

    @property
    def ratio(self) -> float:
        """The figure that must be at least `AT_LEAST`."""
        return self.sixteen.median / (self.stepped or self.one).median


def table_of_first_tokens(rows: list[FirstToken]) -> Table:
    """The table for readers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("ms to a new sequence's first token beside 15")
    for title in ("median", "p90", "empty call", "difference", "a step of all", "own history"):
        made.add_column(title, justify="right")
    for title in ("allowed", "holds"):
        made.add_column(title, justify="right")
    for row in rows:
        times = (row.median_s, row.p90_s, row.empty_call_s, row.waited_s, row.step_s)
        made.add_row(
            row.model,
            *(f"{1e3 * each:.2f}" for each in (*times, row.prefill_s, row.allowed_s)),
            "[green]yes[/]" if row.waited_s < row.allowed_s else "[bold red]NO[/]",
        )
    return made


def table(rows: list[Row]) -> Table:
    """The table for readers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("steps a second")
    for title in ("one at a time", "16 at once", "stepped by 16 clients", "ceiling"):
        made.add_column(title, justify="right")
    for title in ("share of ceiling", "ratio", "at least", "holds"):
        made.add_column(title, justify="right")
    for row in rows:
        holds = row.ratio >= AT_LEAST[row.model]
        made.add_row(
            row.model,
            *(_rate(each) for each in (row.one, row.sixteen, row.stepped)),
            f"{row.ceiling:,.0f}",
            f"{row.sixteen.median / row.ceiling:.2f}",
            f"{row.ratio:.1f}x",
            f"{AT_LEAST[row.model]:g}x",
            "[green]yes[/]" if holds else "[bold red]NO[/]",
        )
    return made


def _rate(rate: Spread | None) -> str:
    if rate is None:
        return "-"
    return f"{rate.median:,.0f} ({rate.lowest:,.0f}..{rate.highest:,.0f})"
