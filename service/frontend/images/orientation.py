"""Reads the orientation of an image from its metadata, in all the ways in which Pillow does.

`PIL.ImageOps.exif_transpose` is the measure: training turns images with it, and so does nearly
every other program in Python. Two files that differ only in how the orientation is written must
give the same answer.
"""

import re
import struct

EXIF_PREFIX = b"Exif\0\0"

_ORIENTATION_TAG = 0x0112
_UPRIGHT = 1
_TURNED = range(2, 9)
_ENTRY_BYTES = 12
# The third and fourth are wrong, but some writers make them.
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"MM*\0": ">", b"II\0*": "<", b"MM\0+": ">"}
# Type of a TIFF value -> how it is packed. Bytes, texts and undefined values turn nothing.
_TYPES = {
    1: "s",
    2: "s",
    3: "H",
    4: "I",
    5: "2I",
    6: "b",
    7: "s",
    8: "h",
    9: "i",
    10: "2i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
}
_TYPE_BYTES = {number: struct.calcsize(f"<{packed}") for number, packed in _TYPES.items()}
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """The orientation that a file's metadata states.

    Args:
        exif: all EXIF blocks of the file joined into one, with or without their prefix. They are
            one directory in pieces: what follows the first directory is not read.
        xmp: asked only where ``exif`` is silent.

    Returns:
        1 (upright) to 8; 1 if the EXIF data is damaged or states no orientation, as a viewer would
        assume.
    """
    try:
        found = _exif_orientation(exif)
    except struct.error:  # this is no EXIF data
        return _UPRIGHT
    if found is None and xmp and (match := _XMP_ORIENTATION.search(xmp)):
        found = int(match[1])
    return int(found) if found is not None and found in _TURNED else _UPRIGHT


def _exif_orientation(exif: bytes) -> float | None:
    """The value of the tag; None if the first directory lacks it."""
    for _ in range(2):  # some writers put the prefix twice
        exif = exif.removeprefix(EXIF_PREFIX)
    if not exif:
        return None
    order = _BYTE_ORDERS.get(exif[:4])
    if order is None:
        raise struct.error("no byte order")
    (at,) = struct.unpack_from(f"{order}I", exif, 4)
    if at + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    entry_of = struct.Struct(f"{order}HHI").unpack_from
    at, total = at + 2, 0
    for entry in range(at, min(at + _ENTRY_BYTES * count, len(exif) - 11), _ENTRY_BYTES):
        tag, kind, values = entry_of(exif, entry)
        size = _TYPE_BYTES.get(kind, 0) * values
        if size > 4:
            # A value that does not fit into its entry. One beyond the end ends the reading; one
            # larger than all data is skipped. Both decide whether a later entry is found.
            total += size
            if total > len(exif):
                continue
            (start,) = struct.unpack_from(f"{order}I", exif, entry + 8)
            if start + size > len(exif):
                return None
        else:
            start = entry + 8
        if tag == _ORIENTATION_TAG and size:
            return _number(struct.unpack_from(f"{order}{_TYPES[kind]}", exif, start))
    return None


def _number(values: tuple[float | bytes, ...]) -> float:
    """One value as a number; 0, which turns nothing, for anything else."""
    match values:
        case (int() | float() as number,):
            return number
        case (int() as above, int() as below) if below:
            return above / below
        case _:
            return 0
