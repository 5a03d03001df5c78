"""The demonstration's picture: what was asked, and what was answered, side by side."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

from sightline import Classification, Continuation, Detections, Label, Segmentation
from sightline.cli.drawing import draw_detections, draw_segmentation

_BLUE = "#4c78a8"
_COLUMNS = 46  # of the text
_LINE_HEIGHT = 0.052  # of the text's panel


@dataclass(frozen=True)
class Shown:
    """Everything the picture shows."""

    classified: Mapping[str, tuple[bytes, tuple[Classification, ...]]]
    """Of each photograph its file and what models say of it."""
    street: tuple[bytes, Segmentation]
    cells: tuple[bytes, Detections]
    line: tuple[str, Continuation]


def draw(shown: Shown, path: Path) -> None:
    """Write the picture."""
    mpl.use("Agg")
    figure = plt.figure(figsize=(12, 8.6), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.15, 1))
    axes = above.subplots(3, len(shown.classified), height_ratios=(2.4, 1, 1))
    for column, (photo, answers) in enumerate(shown.classified.values()):
        _show(axes[0, column], Image.open(BytesIO(photo)))
        for row in (1, 2):
            if row > len(answers):
                axes[row, column].set_axis_off()
            else:
                _draw_labels(axes[row, column], answers[row - 1])
    street, cells, text = below.subplots(1, 3, width_ratios=(1.3, 0.9, 1.05))
    photo, mask = shown.street
    _show(street, draw_segmentation(_opened(photo), mask), _named(mask))
    photo, found = shown.cells
    _show(cells, draw_detections(_opened(photo), found), _named(found))
    _draw_text(text, *shown.line)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def short(label: Label) -> str:
    """ImageNet's labels are lists of synonyms; the first will do here."""
    return label.name.split(",")[0]


def _opened(photo: bytes) -> Image.Image:
    return Image.open(BytesIO(photo)).convert("RGB")


def _named(answer: Classification | Segmentation | Detections | Continuation) -> str:
    return f"{answer.model.name}/{answer.model.version}"


def _show(axis: Axes, picture: Image.Image, title: str = "") -> None:
    axis.imshow(picture)
    axis.set_axis_off()
    axis.set_anchor("NW")
    axis.set_title(title, fontsize=9, loc="left")


def _draw_labels(axis: Axes, answer: Classification) -> None:
    labels = answer.labels[::-1]
    bars = axis.barh(range(len(labels)), [label.score for label in labels], color=_BLUE)
    for bar, label in zip(bars, labels, strict=True):
        text = f"{short(label)}  {label.score:.2f}"
        axis.text(0.02, bar.get_y() + bar.get_height() / 2, text, va="center", fontsize=9)
        bar.set_alpha(0.55)
    axis.set_xlim(0, 1)
    axis.set_yticks([])
    axis.set_xticks([])
    axis.set_title(_named(answer), fontsize=9, loc="left")
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_text(axis: Axes, line: str, answer: Continuation) -> None:
    """The line in black, what the model makes of it in blue."""
    axis.set_axis_off()
    axis.set_title(_named(answer), fontsize=9, loc="left")
    place, given = 0, len(line)
    top = 0.97
    for row in (line + answer.text).split("\n"):
        for part in _wrapped(row):
            black = part[: max(0, given - place)]
            style = {"family": "monospace", "fontsize": 8.5, "va": "top"}
            axis.text(0, top, black, color="black", transform=axis.transAxes, **style)
            blue = " " * len(black) + part[len(black) :]
            axis.text(0, top, blue, color=_BLUE, transform=axis.transAxes, **style)
            place += len(part)
            top -= _LINE_HEIGHT
        place += 1  # the line's end


def _wrapped(row: str) -> list[str]:
    """The row in parts that together are the row, so that places in it can be counted."""
    wrapper = textwrap.TextWrapper(_COLUMNS, drop_whitespace=False, break_on_hyphens=False)
    return wrapper.wrap(row) or [""]
