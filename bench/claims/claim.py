"""A claim, its result, and its section of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INK, FAINT, GRID = "#1f2937", "#6b7280", "#e5e7eb"
COLOURS = ("#2563eb", "#f59e0b", "#0f766e", "#be123c")

Row = Sequence[str]


@dataclass(frozen=True)
class Claim:
    """One sentence of the seed document, and the figure that tests it."""

    name: str
    """Name of the chart's file."""
    says: str
    """The claim, in English."""
    found: str
    """What was measured, in a sentence or two with figures."""
    holds: bool
    """Whether the figures support the claim."""
    head: Row = ()
    rows: Sequence[Row] = ()
    picture: Path | None = None

    def as_markdown(self, number: int) -> str:
        """A section of the page."""
        verdict = "Holds." if self.holds else "**Does not hold here.**"
        parts = [f"## {number}. {self.says}", f"{verdict} {self.found}"]
        if self.rows:
            lines = [self.head, ["---"] * len(self.head), *self.rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        if self.picture:
            parts.append(f"![{self.name}](images/claims/{self.picture.name})")
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Curve:
    """A line of a chart."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def draw_curves(
    path: Path,
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log: str = "",
) -> Path:
    """Write a line chart; ``log`` names the logarithmic axes, such as ``"xy"``."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    for curve, colour in zip(curves, COLOURS, strict=False):
        axes.plot(curve.x, curve.y, color=colour, marker="o", markersize=3, label=curve.label)
    axes.set_title(title, loc="left", color=INK, size=12, weight="bold")
    axes.set_xlabel(x_label, color=FAINT)
    axes.set_ylabel(y_label, color=FAINT)
    if "x" in log:
        axes.set_xscale("log", base=2)
    if "y" in log:
        axes.set_yscale("log")
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    plt.close(figure)
    return path


def draw_bars(
    path: Path, labels: Sequence[str], values: Sequence[float], *, title: str, x_label: str
) -> Path:
    """Write a horizontal bar chart, the first bar on top."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.42 * len(labels)), layout="constrained")
    bars = axes.barh(range(len(labels)), values, color=COLOURS[0], height=0.6)
    axes.bar_label(bars, labels=[f"{value:,.4g}" for value in values], padding=4, color=INK, size=9)
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", color=INK, size=12, weight="bold")
    axes.set_xlabel(x_label, color=FAINT)
    axes.margins(x=0.14)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    plt.close(figure)
    return path


def parameters(module: object) -> int:
    """How many parameters a module has."""
    from torch import nn

    assert isinstance(module, nn.Module)
    return sum(parameter.numel() for parameter in module.parameters())
