"""The picture of a run: what one core answers, beside the baseline and what is possible."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes

from bench.report import describe
from bench.results import Cell, Results, Server

mpl.use("Agg")

SERVICE, BASELINE, CEILING, INK = "#2563eb", "#c9ced8", "#f59e0b", "#1f2937"
BAR = 0.36


def draw(results: Results, path: Path) -> None:
    """Write the picture, a PNG."""
    import matplotlib.pyplot as plt

    cells = [cell for cell in results.cells() if results.floor_s(cell)]
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.58 * len(cells)), layout="constrained")
    for place, cell in enumerate(cells):
        _draw_cell(axes, results, cell, place)
    axes.set_xscale("log")
    axes.set_yticks(range(len(cells)), [_name(cell) for cell in cells], color=INK)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.set_xlim(right=axes.get_xlim()[1] * 2.2)
    axes.set_xlabel("items a second on one core (logarithmic)", color=INK)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle("What one core answers", x=0.01, ha="left", color=INK, size=16, weight="bold")
    axes.set_title(_subtitle(results), loc="left", color="#6b7280", size=9)
    _add_legend(axes)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _draw_cell(axes: Axes, results: Results, cell: Cell, place: int) -> None:
    """Two bars, their spread, and the mark of what the parts alone would allow."""
    bars = (
        (Server.SERVICE, SERVICE, place - BAR / 2),
        (Server.BASELINE, BASELINE, place + BAR / 2),
    )
    for server, colour, height in bars:
        rate = results.rate(cell, server)
        if rate is None:
            continue
        axes.barh(height, rate.median, BAR, color=colour)
        axes.plot([rate.lowest, rate.highest], [height, height], color=INK, linewidth=1)
        text = f"  {rate.median:,.0f}" if rate.median >= 100 else f"  {rate.median:,.1f}"
        ratio = results.ratio(cell)
        if server is Server.SERVICE and ratio:
            text += f"   {ratio:.1f}x"
        bold = "bold" if server is Server.SERVICE else "normal"
        end = max(rate.highest, rate.median)
        axes.text(end, height, text, va="center", color=INK, size=8, weight=bold)
    floor_s = results.floor_s(cell)
    if floor_s:
        ends = [place - BAR - 0.02, place + 0.02]
        axes.plot([1 / floor_s] * 2, ends, color=CEILING, linewidth=3, solid_capstyle="round")


def _name(cell: Cell) -> str:
    load = f"{cell.in_flight} streams" if cell.is_stream else f"{cell.in_flight} in flight"
    return f"{describe(cell).removesuffix(', stream')}\n{load}"


def _subtitle(results: Results) -> str:
    machine = results.machine
    return (
        f"{machine.cpu}, device {machine.devices}, ONNX Runtime {machine.versions['onnxruntime']};"
        f" median of {results.rounds} rounds, thin line: lowest to highest"
    )


def _add_legend(axes: Axes) -> None:
    axes.barh(0, 0, color=SERVICE, label="Sightline")
    axes.barh(0, 0, color=BASELINE, label="baseline: grpc.aio, Pillow, ONNX Runtime")
    axes.plot([], [], color=CEILING, linewidth=3, label="ceiling: empty call + decoder + bare run")
    axes.legend(loc="lower right", frameon=False, labelcolor=INK, fontsize=9)
