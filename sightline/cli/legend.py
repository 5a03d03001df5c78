"""The strip below a picture that says what its colours mean, and the letters of both."""

from collections.abc import Iterable
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from sightline.cli.palette import Color

_LETTERS = 36  # the picture's longer side, in heights of its letters
_SMALLEST_LETTERS_PX = 12


class Entry(NamedTuple):
    """One colour and its meaning."""

    color: Color
    text: str


def with_legend(picture: Image.Image, entries: Iterable[Entry]) -> Image.Image:
    """The picture with a strip below it that names the colours."""
    font = font_for(picture)
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


def font_for(picture: Image.Image) -> ImageFont.FreeTypeFont:
    """Letters that can be read when the whole picture is seen."""
    font = ImageFont.load_default(max(_SMALLEST_LETTERS_PX, round(max(picture.size) / _LETTERS)))
    assert isinstance(font, ImageFont.FreeTypeFont)  # it has a size, so Pillow draws outlines
    return font


def text_size(font: ImageFont.FreeTypeFont, text: str) -> tuple[int, int]:
    """Width and height with a margin."""
    return round(font.getlength(text) + font.size / 2), round(1.4 * font.size)


def _laid_out(
    font: ImageFont.FreeTypeFont, entries: list[Entry], width: int
) -> tuple[list[tuple[Entry, int, int]], int, int]:
    """Each entry with its left edge and its row; the height of a row; how many rows."""
    row_height = round(1.6 * font.size)
    places: list[tuple[Entry, int, int]] = []
    left, row = row_height // 4, 0
    for entry in entries:
        needed = row_height + text_size(font, entry.text)[0]
        if left + needed > width and left > row_height // 4:
            left, row = row_height // 4, row + 1
        places.append((entry, left, row))
        left += needed
    return places, row_height, row + 1
