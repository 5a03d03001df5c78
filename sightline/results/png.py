"""PNG files of one byte a pixel (palette or grey), read with zlib and numpy alone.

Masks are sent as such files: a mask of 12 megapixels is about 100 kB instead of 12 MB, and the
client needs no imaging library. The format: https://www.w3.org/TR/png-3/
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)


@dataclass(frozen=True, slots=True, eq=False)
class Png:
    """A decoded file."""

    pixels: NDArray[np.uint8]
    """``[H, W]``: grey values, or indices of the palette."""
    palette: NDArray[np.uint8]
    """``[K, 3]`` RGB; ``[0, 3]`` where the file has none."""


def decode_png(content: bytes, *, height: int, width: int) -> Png:
    """Read a file that must have this size, which bounds the memory.

    Raises:
        ValueError: it is no PNG file, is damaged, has another size, or has not one byte a pixel.
    """
    palette, packed = b"", list[bytes]()
    for kind, payload in _chunks(content):
        if kind == b"IHDR":
            _check_header(payload, height, width)
        elif kind == b"PLTE":
            palette = payload
        elif kind == b"IDAT":
            packed.append(payload)
    rows = _inflate(b"".join(packed), height * (width + 1)).reshape(height, width + 1)
    colors = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    return Png(pixels=_unfiltered(rows), palette=colors)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not content.startswith(_SIGNATURE):
        raise ValueError("no PNG file")
    place = len(_SIGNATURE)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        payload = content[place + 8 : place + 8 + length]
        if len(payload) < length:
            break
        yield kind, payload
        if kind == b"IEND":
            return
        place += 12 + length
    raise ValueError("the PNG file is cut off")


def _check_header(payload: bytes, height: int, width: int) -> None:
    columns, rows, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", payload)
    if depth != 8 or color not in (_GREY, _PALETTE) or interlace:
        raise ValueError(f"a PNG file of {depth} bits, colour type {color}: 8-bit grey is read")
    if (rows, columns) != (height, width):
        raise ValueError(f"a PNG file of {rows} x {columns} pixels, not {height} x {width}")


def _inflate(packed: bytes, size: int) -> NDArray[np.uint8]:
    try:
        # One byte more than expected: a file that holds more is detected, and not unpacked.
        rows = zlib.decompressobj().decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(f"the PNG file is damaged: {error}") from error
    if len(rows) != size:
        raise ValueError("the PNG file holds another number of pixels than it says")
    return np.frombuffer(bytearray(rows), np.uint8)


def _unfiltered(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the filter that each row names in its first byte, in place; ``[H, 1 + W]``."""
    kinds = rows[:, 0]
    if kinds.max() > _PAETH:
        raise ValueError("the PNG file names a filter that does not exist")
    pixels = rows[:, 1:]
    if kinds.max() >= _AVERAGE:
        _undo_along_diagonals(rows)
        return pixels
    for row in np.flatnonzero(kinds):
        if kinds[row] == _SUB:
            np.add.accumulate(pixels[row], dtype=np.uint8, out=pixels[row])
        elif row > 0:
            pixels[row] += pixels[row - 1]
    return pixels


def _undo_along_diagonals(rows: NDArray[np.uint8]) -> None:
    """Undo any filter: a pixel needs its left, upper and upper left neighbours.

    All pixels of one anti-diagonal (row + column = d) need only the two before it, so each is one
    step for numpy: H + W steps, where row by row would take H * W.
    """
    height, width = rows.shape[0], rows.shape[1] - 1
    kinds, flat = rows[:, 0].copy(), rows.reshape(-1)
    before, last, now = (np.zeros(height + 1, np.int16) for _ in range(3))  # [1 + row]
    for d in range(height + width - 1):
        low, high = max(0, d - width + 1), min(height - 1, d) + 1  # the rows it crosses
        # Pixel (row, d - row) lies at row * (width + 1) + 1 + d - row.
        crossed = slice(low * width + d + 1, (high - 1) * width + d + 2, width)
        left, up, corner = last[low + 1 : high + 1], last[low:high], before[low:high]
        predicted = np.choose(
            kinds[low:high],
            (np.int16(0), left, up, (left + up) >> 1, _paeth(left, up, corner)),
        )
        now[low + 1 : high + 1] = (flat[crossed] + predicted) & 0xFF
        flat[crossed] = now[low + 1 : high + 1]
        before, last, now = last, now, before


def _paeth(
    left: NDArray[np.int16], up: NDArray[np.int16], corner: NDArray[np.int16]
) -> NDArray[np.int16]:
    """Whichever neighbour is nearest to ``left + up - corner``; ties in this order."""
    to_left, to_up = np.abs(up - corner), np.abs(left - corner)
    to_corner = np.abs(left + up - 2 * corner)
    up_or_corner = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, up_or_corner)
