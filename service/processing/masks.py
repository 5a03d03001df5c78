"""Masks in the form a caller asks for: resized, as PNG, as COCO run lengths, as outlines."""

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_POLYGONS = 1000
"""Most outlines of one class; the largest are kept."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED, _UP = 3, 2
_LARGEST_RUN_DIGITS = 7
"""Base-32 digits of the longest run; 7 digits hold 2**34."""


class Sampling(NamedTuple):
    """Which row and column of a plane each row and column of a mask shows (nearest neighbour)."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    @classmethod
    def of(
        cls, plane: tuple[int, int], part: tuple[float, float, float, float], size: tuple[int, int]
    ) -> "Sampling":
        """Show a part of a plane at another size.

        Args:
            plane: its height and width.
            part: left, top, right, bottom, as shares of the plane's sides, 0..1.
            size: height and width of the mask.
        """
        left, top, right, bottom = part
        return cls(
            _nearest(size[0], top * plane[0], bottom * plane[0], plane[0]),
            _nearest(size[1], left * plane[1], right * plane[1], plane[1]),
        )

    def show(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The mask ``[height, width]`` of a plane ``[h, w]``."""
        # Columns first, so that rows are then copied whole.
        return plane.take(self.columns, axis=1).take(self.rows, axis=0)

    def weights(self, plane: tuple[int, int]) -> NDArray[np.float64]:
        """How many pixels of the mask show each pixel of a plane, ``[h, w]``."""
        rows = np.bincount(self.rows, minlength=plane[0])
        columns = np.bincount(self.columns, minlength=plane[1])
        return np.outer(rows, columns).astype(np.float64)


def _nearest(count: int, start: float, stop: float, limit: int) -> NDArray[np.intp]:
    centres = start + (np.arange(count) + 0.5) * ((stop - start) / count)
    return np.clip(np.floor(centres).astype(np.intp), 0, limit - 1)


def indexed_png(mask: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> bytes:
    """A PNG file of palette indices, 8 bits each.

    Args:
        mask: ``[H, W]``, class indices.
        palette: red, green, blue of each class, 1 to 256 of them; indices beyond are black.
    """
    height, width = mask.shape
    colours = np.zeros((max(len(palette), int(mask.max(initial=0)) + 1), 3), np.uint8)
    colours[: len(palette)] = palette
    # Each row minus the row above (filter "up"): most of a mask becomes zeros.
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = mask[0]
    np.subtract(mask[1:], mask[:-1], out=rows[1:, 1:])
    return b"".join(
        (
            _PNG_SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)),
            _chunk(b"PLTE", colours.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.data, 1)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def picture_png(picture: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image ``[H, W]`` (grey) or ``[H, W, 3]`` (RGB)."""
    if picture.ndim == 3:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8)
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def run_lengths(mask: NDArray[np.uint8]) -> dict[int, bytes]:
    """COCO's compressed run-length string of every class that occurs.

    Runs go down the columns, 0 and 1 in turn, 0 first (cocodataset/cocoapi, maskApi.c).

    Args:
        mask: ``[H, W]``, class indices.
    """
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    ends = np.append(starts[1:], flat.size)
    classes = flat[starts]
    strings: dict[int, bytes] = {}
    for index in np.unique(classes).tolist():
        its = classes == index
        borders = np.stack([starts[its], ends[its]], axis=1).ravel()
        counts = np.diff(borders, prepend=0, append=flat.size)
        strings[index] = _compress(counts if counts[-1] else counts[:-1])
    return strings


def part_run_lengths(part: NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> bytes:
    """COCO's compressed run-length string of a mask that is empty but for a part.

    The whole mask is never made: it may be a thousand times larger, and one of many.

    Args:
        part: ``[h, w]``.
        left: the mask's column where the part begins.
        top: its row.
        size: height and width of the mask.
    """
    height, width = size
    columns = np.pad(
        part.T.astype(np.int8), ((0, 0), (1, 1))
    )  # a 0 at both ends keeps columns apart
    steps = np.diff(columns, axis=1)
    starts, ends = (
        (left + column) * height + top + row
        for column, row in (np.nonzero(steps == 1), np.nonzero(steps == -1))
    )
    goes_on = ends[:-1] == starts[1:]  # a run that continues in the next column
    starts, ends = (
        np.delete(starts, np.flatnonzero(goes_on) + 1),
        np.delete(ends, np.flatnonzero(goes_on)),
    )
    borders = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(borders, prepend=0, append=height * width)
    return _compress(counts if counts[-1] else counts[:-1])


def _compress(counts: NDArray[np.intp]) -> bytes:
    """Counts in base 32, lowest digit first; from the fourth on minus the count two before."""
    rest = counts.astype(np.int64)
    rest[3:] -= counts[1:-2]
    digits = np.zeros((len(rest), _LARGEST_RUN_DIGITS), np.uint8)
    is_used = np.zeros(digits.shape, bool)
    going_on = np.ones(len(rest), bool)
    for place in range(_LARGEST_RUN_DIGITS):
        digit = rest & 31
        rest >>= 5
        # All further digits of a negative number are ones; the fifth bit is the sign.
        more: NDArray[np.bool_] = rest != -((digit & 16) >> 4)
        digits[:, place] = digit + 32 * more + 48
        is_used[:, place] = going_on
        going_on = going_on & more
    return digits[is_used].tobytes()


def outlines(is_inside: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """The closed outlines of a region and its holes, largest first, at most `MAX_POLYGONS`.

    Args:
        is_inside: ``[H, W]``.

    Returns:
        ``[corners, 2]`` each, x and y of pixel centres; at least 3 corners.
    """
    found, _ = cv2.findContours(is_inside.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [contour[:, 0].astype(np.float32) + 0.5 for contour in found if len(contour) >= 3]
    polygons.sort(key=lambda corners: -cv2.contourArea(corners))
    return polygons[:MAX_POLYGONS]


def palette_of(count: int) -> tuple[tuple[int, int, int], ...]:
    """A colour for each of ``count`` classes, as PASCAL VOC defines them; the first is black.

    The bits of the index, lowest first, go to red, green and blue in turn, and fill each channel
    from its highest bit down.
    """

    def colour(index: int) -> tuple[int, int, int]:
        red, green, blue = (
            sum((index >> (3 * place + channel) & 1) << (7 - place) for place in range(3))
            for channel in range(3)
        )
        return red, green, blue

    return tuple(colour(index) for index in range(count))
