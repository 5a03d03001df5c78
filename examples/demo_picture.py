"""The demonstration's picture: what was asked, and what was answered, side by side."""

import textwrap
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from examples.demo_inputs import TRAINING_SHARE
from sightline import Classification, Continuation, Detections, Label, Segmentation
from sightline.cli.drawing import draw_detections, draw_segmentation

STREET_COLORS = {
    "sky": (86, 180, 233),
    "building": (213, 94, 0),
    "pole": (255, 238, 0),
    "road": (68, 0, 34),
    "pavement": (204, 0, 136),
    "tree": (0, 158, 115),
    "sign": (238, 0, 34),
    "fence": (255, 255, 170),
    "car": (136, 0, 255),
    "pedestrian": (102, 255, 68),
    "bicyclist": (119, 102, 255),
}
"""Of CamVid's classes. CamVid's own are too near to each other once they are mixed with a photo.
These are three of Okabe and Ito's and the eight that are farthest apart in CIELAB beside them,
with and without red and green cones; brightness counts less than hue, as the photo changes it."""

_DOTS_PER_INCH = 115
_LEVELS_STEP = 4  # between the file's levels of a colour: invisible, and saves a third of the bytes
_SMALL, _LARGE = 8.5, 10
_BLUE, _BAR, _PALE, _GREY = "#0072b2", "#9cc3dc", "#e4e4e4", "#444444"
_FEW_PX = 100  # a picture of fewer is enlarged with its pixels to be seen
_COLUMNS = 48  # of the text
_LINE_HEIGHT = 0.058  # of the text's panel
_MADE_FOR = {
    "camvid-fcn8s": "made for streets (CamVid). No installed package ships one:\n"
    "this is a palace by a lake, and much of the answer is wrong",
    "nuclei-yolo": "made for nuclei under a microscope; it learned\n"
    "left of the dashed line and never saw the right",
    "shakespeare-transformer": "made to continue Shakespeare letter by letter;\n"
    "it has learned words and verse, not sense",
    "efficientnet-lite0": "made for photographs (ImageNet)",
    "cifar10-resnet": "made for 32x32 pixels (CIFAR-10)",
}


class Classified(NamedTuple):
    """One photograph and what a model says it is."""

    name: str
    photo: bytes
    answer: Classification


@dataclass(frozen=True)
class Shown:
    """Everything the picture shows."""

    classified: tuple[Classified, ...]
    scene: tuple[bytes, Segmentation]
    cells: tuple[bytes, Detections]
    line: tuple[str, Continuation]


def draw(shown: Shown, path: Path) -> None:
    """Write the picture."""
    mpl.use("Agg")
    figure = plt.figure(figsize=(12, 7.7), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.42))
    photos, bars = above.subplots(2, len(shown.classified), height_ratios=(2.3, 1))
    for photo, bar, classified in zip(photos, bars, shown.classified, strict=True):
        _title(photo, "classification", classified.answer)
        _show(photo, _opened(classified.photo))
        _draw_labels(bar, classified.answer)
    scene, cells, text = below.subplots(1, 3, width_ratios=(1.35, 0.94, 1.05))
    file, mask = shown.scene
    _title(scene, "segmentation", mask)
    _show(scene, draw_segmentation(_opened(file), mask, STREET_COLORS))
    file, found = shown.cells
    _title(cells, "detection", found)
    _show(cells, draw_detections(_opened(file), found))
    _draw_training_edge(cells, _opened(file))
    _title(text, "sequence", shown.line[1])
    _draw_text(text, *shown.line)
    _write(figure, path)
    plt.close(figure)


def short(label: Label) -> str:
    """ImageNet's labels are lists of synonyms; the first will do here."""
    return label.name.split(",")[0]


def _write(figure: Figure, path: Path) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=_DOTS_PER_INCH)
    pixels = np.asarray(Image.open(buffer).convert("RGB")).astype(int)
    coarse = (pixels + _LEVELS_STEP // 2) // _LEVELS_STEP * _LEVELS_STEP
    Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).save(path, optimize=True)


def _opened(photo: bytes) -> Image.Image:
    return Image.open(BytesIO(photo)).convert("RGB")


Answer = Classification | Segmentation | Detections | Continuation


def _title(axis: Axes, task: str, answer: Answer) -> None:
    """Task and model, and what the model was made for."""
    purpose = _MADE_FOR[answer.model.name]
    axis.set_title(purpose, fontsize=_SMALL, loc="left", color=_GREY, linespacing=1.15)
    above = (1.35 * (purpose.count("\n") + 1) + 0.5) * _SMALL
    axis.annotate(
        f"{task}: {answer.model.name}",
        (0, 1),
        xytext=(0, above),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=_LARGE,
        weight="bold",
    )


def _show(axis: Axes, picture: Image.Image) -> None:
    axis.imshow(picture, interpolation="nearest" if picture.width < _FEW_PX else "antialiased")
    axis.set_axis_off()
    axis.set_anchor("NW")


def _draw_labels(axis: Axes, answer: Classification) -> None:
    labels = answer.labels[::-1]
    axis.barh(range(len(labels)), [label.score for label in labels], color=_BAR)
    for row, label in enumerate(labels):
        text = f"{short(label)}  {label.score:.2f}"
        axis.text(0.02, row, text, va="center", fontsize=_SMALL)
    axis.set_xlim(0, 1)
    axis.set_yticks([])
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_training_edge(axis: Axes, photo: Image.Image) -> None:
    x = TRAINING_SHARE * photo.width
    axis.plot((x, x), (0, photo.height), color="white", linewidth=1.2, linestyle=(0, (5, 4)))


def _draw_text(axis: Axes, line: str, answer: Continuation) -> None:
    """The line on pale ground, what the model makes of it in bold; the legend has both."""
    axis.set_axis_off()
    place, top = 0, 0.97
    for row in (line + answer.text).split("\n"):
        for part in _wrapped(row):
            given = part[: max(0, len(line) - place)]
            _write_parts(axis, top, given, part[len(given) :])
            place += len(part)
            top -= _LINE_HEIGHT
        place += 1  # the line's end
    _write_parts(axis, top - _LINE_HEIGHT, "given", "")
    _write_parts(axis, top - _LINE_HEIGHT, "", "       added by the network")


def _write_parts(axis: Axes, top: float, given: str, added: str) -> None:
    style = {"family": "monospace", "fontsize": _SMALL, "va": "top", "transform": axis.transAxes}
    if given:
        ground = {"facecolor": _PALE, "edgecolor": "none", "pad": 1.5}
        axis.text(0, top, given, bbox=ground, **style)
    if added.strip():
        axis.text(0, top, " " * len(given) + added, color=_BLUE, weight="bold", **style)


def _wrapped(row: str) -> list[str]:
    """The row in parts that together are the row, so that places in it can be counted."""
    wrapper = textwrap.TextWrapper(_COLUMNS, drop_whitespace=False, break_on_hyphens=False)
    return wrapper.wrap(row) or [""]
