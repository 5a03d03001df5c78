"""COCO's compressed run-length strings, which the tools of that data set read and write.

The pixels are read column by column as runs of 0 and 1 in turn, 0 first. Each run but the first
three is written as its difference to the run before the last, in groups of 5 bits, lowest first:
``48 + group``, 32 added while another group follows; the last group's highest bit is the sign.
Source: ``maskApi.c`` of https://github.com/cocodataset/cocoapi
"""

import numpy as np
from numpy.typing import NDArray

_MOST_GROUPS = 13  # of a 64-bit number


def encode_rle(mask: NDArray[np.bool_]) -> bytes:
    """The string of a ``[H, W]`` mask."""
    pixels = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(pixels)) + 1
    first = [0] if pixels.size and pixels[0] else []  # a run of no zeros
    ends = np.concatenate([first, edges, [pixels.size]]).astype(np.int64)
    runs = np.diff(ends, prepend=0)
    runs[3:] -= runs[1:-2].copy()
    return _write(runs)


def decode_rle(string: bytes, *, height: int, width: int) -> NDArray[np.bool_]:
    """The ``[H, W]`` mask of a string.

    Raises:
        ValueError: it is no such string, or the mask has another size.
    """
    runs = _read(np.frombuffer(string, np.uint8).astype(np.int64) - 48)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    # Each run is checked as well: a sum alone could be reached by runs that wrap around.
    is_whole = np.all((runs >= 0) & (runs <= height * width)) and runs.sum() == height * width
    if not is_whole:
        raise ValueError(f"the run-length string is not that of {height} x {width} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _write(numbers: NDArray[np.int64]) -> bytes:
    groups = np.zeros((len(numbers), _MOST_GROUPS), np.uint8)
    is_used = np.zeros(groups.shape, np.bool_)
    left = numbers
    has_more = np.ones(len(numbers), np.bool_)
    for place in range(_MOST_GROUPS):
        is_used[:, place] = has_more
        bits, left = left & 31, left >> 5
        has_more = has_more & (left != np.where(bits & 16, -1, 0))
        groups[:, place] = 48 + bits + 32 * has_more
        if not has_more.any():
            break
    return groups[is_used].tobytes()


def _read(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    if not groups.size or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("no run-length string as COCO writes them")
    lasts = np.flatnonzero(groups & 32 == 0)
    firsts = np.concatenate([[0], lasts[:-1] + 1])
    lengths = lasts - firsts + 1
    if lengths.max() >= _MOST_GROUPS:
        raise ValueError("no run-length string as COCO writes them: a run of more than 60 bits")
    places = np.arange(groups.size) - np.repeat(firsts, lengths)
    numbers = np.add.reduceat((groups & 31) << (5 * places), firsts)
    is_negative = groups[lasts] & 16 != 0
    return np.where(is_negative, numbers - (np.int64(1) << (5 * lengths)), numbers)
