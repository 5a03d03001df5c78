"""The chart of a run: how close one core comes to the ceiling of its parts alone."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from bench.figures import Spread
from bench.report import describe
from bench.results import Cell, Results, Server

mpl.use("Agg")

SERVICE, BASELINE, CEILING = "#2563eb", "#c3cad6", "#f59e0b"
INK, FAINT = "#1f2937", "#6b7280"
BAR = 0.38


def draw(results: Results, path: Path) -> None:
    """Write the chart, a PNG file."""
    import matplotlib.pyplot as plt

    cells = [cell for cell in results.cells() if results.floor_s(cell)]
    figure, axes = plt.subplots(figsize=(10, 1.9 + 0.56 * len(cells)), layout="constrained")
    for place, cell in enumerate(cells):
        _draw_cell(axes, results, cell, place)
    axes.axvline(1, color=CEILING, linewidth=2, zorder=0)
    axes.set_yticks(range(len(cells)), [_name(cell) for cell in cells], color=INK, size=9)
    axes.set_ylim(len(cells) - 0.4, -0.95)
    axes.set_xlim(0, 1.16)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.text(1.01, -0.68, "ceiling", color=CEILING, weight="bold", size=9)
    figure.suptitle(
        f"Items a second on {_cores(results)}, as a share of what the parts alone allow",
        x=0.01,
        ha="left",
        color=INK,
        size=14,
        weight="bold",
    )
    figure.supxlabel(_caption(results), x=0.01, ha="left", color=FAINT, size=8)
    _add_legend(axes)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _draw_cell(axes: Axes, results: Results, cell: Cell, place: int) -> None:
    """The service over the baseline, with the ceiling on the right."""
    floor_s = (results.floor_s(cell) or 0) / results.server_cores
    service, baseline = results.rate(cell, Server.SERVICE), results.rate(cell, Server.BASELINE)
    if service:
        height = place - BAR / 2 if baseline else place
        ratio = results.ratio(cell)
        text = f"{_rate(service)}   {ratio:.1f}x" if ratio else _rate(service)
        _draw_bar(axes, service, floor_s, height, SERVICE, text, "bold")
    if baseline:
        height = place + BAR / 2
        _draw_bar(axes, baseline, floor_s, height, BASELINE, _rate(baseline), "normal")
    ceiling = 1 / floor_s
    axes.text(
        1.01, place, _rate(Spread(ceiling, ceiling, ceiling)), va="center", color=FAINT, size=8
    )


def _draw_bar(
    axes: Axes,
    rate: Spread,
    floor_s: float,
    height: float,
    colour: str,
    text: str,
    weight: str,
) -> None:
    """A bar with its spread; the text is inside the bar if it fits, else behind it."""
    share = min(rate.median * floor_s, 1.15)
    axes.barh(height, share, BAR, color=colour)
    ends = [rate.lowest * floor_s, rate.highest * floor_s]
    axes.plot(ends, [height, height], color=INK, linewidth=1.2, alpha=0.7)
    fits = share > 0.3
    ink = ("white" if colour == SERVICE else INK) if fits else INK
    place = 0.012 if fits else max(share, ends[1]) + 0.012
    axes.text(place, height, text, va="center", color=ink, size=8, weight=weight)


def _rate(rate: Spread) -> str:
    return f"{rate.median:,.0f}/s" if rate.median >= 100 else f"{rate.median:,.1f}/s"


def _name(cell: Cell) -> str:
    load = f"{cell.in_flight} streams" if cell.is_stream else f"{cell.in_flight} in flight"
    return f"{describe(cell).removesuffix(', stream')}, {load}"


def _cores(results: Results) -> str:
    return "one core" if results.server_cores == 1 else f"{results.server_cores} cores"


def _caption(results: Results) -> str:
    machine = results.machine
    return (
        f"{machine.cpu}, device {machine.devices}, ONNX Runtime"
        f" {machine.versions['onnxruntime']}; rounds: {results.rounds}, line: lowest to"
        f" highest.\nCeiling: what {_cores(results)} would answer if an item cost an empty call's"
        " share, the bare decoder and the bare run at its best batch, and no more."
    )


def _add_legend(axes: Axes) -> None:
    axes.barh(-9, 0, color=SERVICE, label="Sightline")
    axes.barh(-9, 0, color=BASELINE, label="baseline: grpc.aio, Pillow, ONNX Runtime")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        borderpad=0,
    )
