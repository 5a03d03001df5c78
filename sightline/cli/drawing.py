"""Answers, drawn on the photos they are about: boxes, masks, and what their colours mean.

A photo smaller than the picture should be is enlarged by whole pixels first; lines and letters grow
with the picture, so that they can be read on a thumbnail and on a poster. Each coloured line lies
on a dark one, so that it can be seen on any photo.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps, ImageStat

from sightline import Detection, Detections, Segmentation
from sightline.cli.legend import Entry, font_for, text_size, with_legend
from sightline.cli.palette import Color, color_of, ink_on

SMALLEST_SIDE_PX = 480
"""The longer side of a picture is at least about this."""
OUTLINE: Color = (16, 16, 16)
"""Between the regions of a mask, and around each coloured line."""
_OPACITY = 0.5  # of masks
_MANY = 30  # boxes: beyond, the legend names the classes instead of each box
_GREY: Color = (128, 128, 128)


def draw_answer(photo: Path, answer: Detections | Segmentation) -> Image.Image:
    """The photo, upright, with the answer on it and a legend below."""
    with Image.open(photo) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    if isinstance(answer, Detections):
        return draw_detections(picture, answer)
    return draw_segmentation(picture, answer)


def draw_detections(photo: Image.Image, answer: Detections) -> Image.Image:
    """Boxes, masks and keypoints on an upright RGB photo; best on top."""
    picture, scale = _enlarged(photo)
    counts = Counter((found.index, found.label) for found in answer.detections)
    is_crowded = len(answer.detections) > _MANY
    for found in reversed(answer.detections):
        if (mask := found.mask) is not None:
            picture = _tinted(picture, mask, color_of(found.index))
    draw = ImageDraw.Draw(picture)
    line = _line_width(picture)
    for found in answer.detections:  # every dark line first: none may hide a coloured one
        _draw_box(draw, _scaled(found.box, scale), OUTLINE, line, halo=_halo(line))
    for found in reversed(answer.detections):
        _draw_box(draw, _scaled(found.box, scale), color_of(found.index), line)
        _draw_keypoints(draw, found, scale, line)
        if not is_crowded:
            _draw_name(draw, picture, found, scale)
    entries = [
        Entry(color_of(index), f"{label}: {count}") for (index, label), count in counts.items()
    ]
    return with_legend(picture, entries or [Entry(_GREY, "nothing found")])


def draw_segmentation(
    photo: Image.Image, answer: Segmentation, colors: Mapping[str, Color] | None = None
) -> Image.Image:
    """The mask on an upright RGB photo, with a dark line between its regions.

    The photo is grey below the mask, so that a colour means a class and nothing else. The legend
    shows each class as it is seen: the mean of its pixels in the picture. A label in ``colors`` has
    the colour given there; the others have the server's.
    """
    picture, _ = _enlarged(photo)
    palette = _palette(answer, colors or {})
    classes = _resized(answer.mask, picture.size)  # [H, W]
    grey = picture.convert("L").convert("RGB")
    tinted = Image.blend(grey, Image.fromarray(palette[classes]), _OPACITY)
    lines = _outlines(classes, _line_width(picture))
    entries = [
        Entry(
            _seen(tinted, (classes == region.index) & ~lines, palette[region.index]),
            f"{region.label} {_percent(region.share)}",
        )
        for region in answer.regions
    ]
    tinted.paste(OUTLINE, mask=Image.fromarray(lines))
    return with_legend(tinted, entries)


def _palette(answer: Segmentation, colors: Mapping[str, Color]) -> NDArray[np.uint8]:
    """``[256, 3]``: those given, else the server's, and ours where it has none."""
    palette = np.array([color_of(index) for index in range(256)], np.uint8)
    palette[: len(answer.palette)] = answer.palette
    for region in answer.regions:
        if region.label in colors:
            palette[region.index] = colors[region.label]
    return palette


def _seen(picture: Image.Image, where: NDArray[np.bool_], color: NDArray[np.uint8]) -> Color:
    """The mean colour there; where there is no pixel, the colour on a grey of middle brightness."""
    if where.any():
        mean = ImageStat.Stat(picture, Image.fromarray(where)).mean
    else:
        mean = [_OPACITY * level + (1 - _OPACITY) * 128 for level in color.tolist()]
    red, green, blue = (round(level) for level in mean)
    return red, green, blue


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "< 1%"


def _enlarged(photo: Image.Image) -> tuple[Image.Image, int]:
    """A copy, and how many of its pixels one of the photo's has become along a side."""
    scale = max(1, round(SMALLEST_SIDE_PX / max(photo.size)))
    size = (photo.width * scale, photo.height * scale)
    return photo.resize(size, Image.Resampling.NEAREST), scale


def _resized(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _tinted(picture: Image.Image, mask: NDArray[np.bool_], color: Color) -> Image.Image:
    """The picture with a thing's pixels in its colour, and a dark line around them."""
    thing = _resized(mask.astype(np.uint8), picture.size)
    opacity = Image.fromarray(round(255 * _OPACITY) * thing)
    tinted = Image.composite(Image.new("RGB", picture.size, color), picture, opacity)
    tinted.paste(OUTLINE, mask=Image.fromarray(_outlines(thing, _line_width(picture))))
    return tinted


def _outlines(classes: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """``[H, W]``: the pixels of lines of that width along which one class meets another."""
    lines = np.zeros(classes.shape, np.bool_)
    for across, along in ((classes, lines), (classes.T, lines.T)):  # rows, then columns
        changes, end = across[1:] != across[:-1], len(across)
        for shift in range(1 - width // 2, 1 + width - width // 2):
            first = max(0, shift)
            last = max(first, min(end, end - 1 + shift))  # a photo may be less high than a line
            along[first:last] |= changes[first - shift : last - shift]
    return lines


def _scaled(box: tuple[float, float, float, float], scale: int) -> tuple[float, ...]:
    left, top, right, bottom = (scale * edge for edge in box)
    return left, top, max(left, right), max(top, bottom)


def _draw_box(
    draw: ImageDraw.ImageDraw, box: tuple[float, ...], color: Color, line: int, halo: int = 0
) -> None:
    """With a halo the line is thicker by that much to both sides."""
    left, top, right, bottom = box
    edges = (left - halo, top - halo, right + halo, bottom + halo)
    draw.rectangle(edges, outline=color, width=line + 2 * halo)


def _draw_keypoints(draw: ImageDraw.ImageDraw, found: Detection, scale: int, line: int) -> None:
    for point in found.keypoints:
        x, y, radius = scale * point.x, scale * point.y, 2 * line
        disc = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(disc, fill=color_of(found.index), outline=OUTLINE, width=_halo(line))


def _draw_name(
    draw: ImageDraw.ImageDraw, picture: Image.Image, found: Detection, scale: int
) -> None:
    """Above the box's corner; where there is no room, inside the picture."""
    text, color = f"{found.label} {found.score:.2f}", color_of(found.index)
    font = font_for(picture)
    x, y = scale * found.box[0], scale * found.box[1]
    width, height = text_size(font, text)
    left = max(0, min(x, picture.width - width))
    top = y - height if y >= height else min(y, picture.height - height)
    draw.rectangle((left, top, left + width, top + height), fill=color, outline=OUTLINE)
    draw.text((left + height / 6, top + height / 8), text, font=font, fill=ink_on(color))


def _line_width(picture: Image.Image) -> int:
    return max(2, round(max(picture.size) / 400))


def _halo(line: int) -> int:
    """The width of the dark line to each side of a coloured one."""
    return max(1, line // 2)
