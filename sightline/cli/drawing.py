"""Answers, drawn on the photos they are about: boxes, masks, and what their colours mean.

A photo smaller than the picture should be is enlarged by whole pixels first; lines and letters grow
with the picture, so that they can be read on a thumbnail and on a poster.
"""

import colorsys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from sightline import Detection, Detections, Segmentation

SMALLEST_SIDE_PX = 480
"""The longer side of a picture is at least about this."""
_OPACITY = 0.5  # of masks
_MANY = 30  # boxes: beyond, the legend names the classes instead of each box
_GOLDEN_RATIO = 0.618033988749895

Color = tuple[int, int, int]


class _Entry(NamedTuple):
    """One line of the legend."""

    color: Color
    text: str


def draw_answer(photo: Path, answer: Detections | Segmentation) -> Image.Image:
    """The photo, upright, with the answer on it and a legend below."""
    with Image.open(photo) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    if isinstance(answer, Detections):
        return draw_detections(picture, answer)
    return draw_segmentation(picture, answer)


def color_of(index: int) -> Color:
    """A class's colour: neighbours differ much, and the same class is the same everywhere."""
    hue = (index * _GOLDEN_RATIO) % 1
    value = (1.0, 0.8)[index // 12 % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_detections(photo: Image.Image, answer: Detections) -> Image.Image:
    """Boxes, masks and keypoints on an upright RGB photo; best on top."""
    picture, scale = _enlarged(photo)
    counts = Counter((found.index, found.label) for found in answer.detections)
    is_crowded = len(answer.detections) > _MANY
    for found in reversed(answer.detections):
        if (mask := found.mask) is not None:
            picture = _tinted(picture, mask, color_of(found.index))
    draw = ImageDraw.Draw(picture)
    for found in reversed(answer.detections):
        _draw_box(draw, picture, found, scale, with_name=not is_crowded)
    entries = [
        _Entry(color_of(index), f"{label}: {count}") for (index, label), count in counts.items()
    ]
    return _with_legend(picture, entries or [_Entry((128, 128, 128), "nothing found")])


def draw_segmentation(photo: Image.Image, answer: Segmentation) -> Image.Image:
    """The mask on an upright RGB photo, in the server's colours."""
    picture, _ = _enlarged(photo)
    palette = _palette(answer)
    colors = Image.fromarray(palette[answer.mask]).resize(picture.size, Image.Resampling.NEAREST)
    entries = [
        _Entry(_color(palette[region.index]), f"{region.label} {region.share:.0%}")
        for region in answer.regions
    ]
    return _with_legend(Image.blend(picture, colors, _OPACITY), entries)


def _palette(answer: Segmentation) -> NDArray[np.uint8]:
    """``[256, 3]``: the server's, and ours where it has none."""
    palette = np.array([color_of(index) for index in range(256)], np.uint8)
    palette[: len(answer.palette)] = answer.palette
    return palette


def _color(row: NDArray[np.uint8]) -> Color:
    red, green, blue = (int(value) for value in row)
    return red, green, blue


def _enlarged(photo: Image.Image) -> tuple[Image.Image, int]:
    """A copy, and how many of its pixels one of the photo's has become along a side."""
    scale = max(1, round(SMALLEST_SIDE_PX / max(photo.size)))
    size = (photo.width * scale, photo.height * scale)
    return photo.resize(size, Image.Resampling.NEAREST), scale


def _tinted(picture: Image.Image, mask: NDArray[np.bool_], color: Color) -> Image.Image:
    shape = Image.fromarray(np.where(mask, round(255 * _OPACITY), 0).astype(np.uint8))
    shape = shape.resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", picture.size, color), picture, shape)


def _draw_box(
    draw: ImageDraw.ImageDraw,
    picture: Image.Image,
    found: Detection,
    scale: int,
    *,
    with_name: bool,
) -> None:
    color, line = color_of(found.index), _line_width(picture)
    left, top, right, bottom = (scale * edge for edge in found.box)
    draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=color, width=line)
    for point in found.keypoints:
        x, y = scale * point.x, scale * point.y
        draw.ellipse((x - 2 * line, y - 2 * line, x + 2 * line, y + 2 * line), fill=color)
    if with_name:
        _draw_name(draw, picture, f"{found.label} {found.score:.2f}", (left, top), color)


def _draw_name(
    draw: ImageDraw.ImageDraw,
    picture: Image.Image,
    text: str,
    corner: tuple[float, float],
    color: Color,
) -> None:
    """Above the box's corner; where there is no room, inside the picture."""
    font = _font(picture)
    width, height = _text_size(font, text)
    left = max(0, min(corner[0], picture.width - width))
    top = corner[1] - height if corner[1] >= height else min(corner[1], picture.height - height)
    draw.rectangle((left, top, left + width, top + height), fill=color)
    draw.text((left + height / 6, top + height / 8), text, font=font, fill=_ink_on(color))


def _with_legend(picture: Image.Image, entries: Iterable[_Entry]) -> Image.Image:
    """The picture with a strip below it that names the colours."""
    font = _font(picture)
    places, row_height, rows = _laid_out(font, list(entries), picture.width)
    whole = Image.new("RGB", (picture.width, picture.height + rows * row_height), "white")
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    side = round(0.6 * row_height)
    for entry, left, row in places:
        top = picture.height + row * row_height + (row_height - side) / 2
        draw.rectangle((left, top, left + side, top + side), fill=entry.color, outline="black")
        draw.text((left + 1.3 * side, top - side * 0.15), entry.text, font=font, fill="black")
    return whole


def _laid_out(
    font: ImageFont.FreeTypeFont, entries: list[_Entry], width: int
) -> tuple[list[tuple[_Entry, int, int]], int, int]:
    """Each entry with its left edge and its row; the height of a row; how many rows."""
    row_height = round(1.6 * font.size)
    places: list[tuple[_Entry, int, int]] = []
    left, row = row_height // 4, 0
    for entry in entries:
        needed = row_height + _text_size(font, entry.text)[0]
        if left + needed > width and left > row_height // 4:
            left, row = row_height // 4, row + 1
        places.append((entry, left, row))
        left += needed
    return places, row_height, row + 1


def _line_width(picture: Image.Image) -> int:
    return max(2, round(max(picture.size) / 400))


def _font(picture: Image.Image) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(max(12, round(max(picture.size) / 45)))
    assert isinstance(font, ImageFont.FreeTypeFont)  # it has a size, so Pillow draws outlines
    return font


def _text_size(font: ImageFont.FreeTypeFont, text: str) -> tuple[int, int]:
    """With a margin."""
    return round(font.getlength(text) + font.size / 2), round(1.4 * font.size)


def _ink_on(color: Color) -> Color:
    """Black or white, whichever can be read on it."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
