"""Reads the header of a JPEG file: everything before its first scan."""

import re
import struct

from service.frontend.errors import InvalidInput
from service.frontend.images.header import ImageFormat, ImageHeader, truncated
from service.frontend.images.jpeg_parts import MAX_JPEG_SCANS, MAX_JPEG_SEGMENTS, take_apart
from service.frontend.images.orientation import EXIF_PREFIX, orientation_of

_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_STANDALONE_MARKERS = frozenset([0x01, *range(0xD0, 0xD9)])  # TEM, RST0..7, SOI: no length follows
_OTHER_FRAMES = frozenset([0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)])
_MARKER = re.compile(rb"\xff[^\0\xff]")


def read_jpeg(file: bytes) -> ImageHeader:
    """Read the header of a JPEG.

    Raises:
        InvalidInput: it holds no image, or one that is not decoded.
        struct.error: it is cut off.
    """
    frame: tuple[int, int, int, int] | None = None  # precision, height, width, components
    exif: list[bytes] = []  # the first block with its prefix
    xmp = b""
    is_progressive, at = False, 2
    for _ in range(MAX_JPEG_SEGMENTS):
        marker, at = _next_jpeg_marker(file, at)
        if marker in _STANDALONE_MARKERS:
            continue
        (length,) = struct.unpack_from(">H", file, at)
        if marker == 0xD9 or length < 2:
            break
        if marker in _OTHER_FRAMES:
            raise InvalidInput(
                "the JPEG is arithmetically coded or lossless; save it as baseline or progressive"
            )
        if marker in (0xC0, 0xC1, 0xC2):
            frame, is_progressive = struct.unpack_from(">BHHB", file, at + 2), marker == 0xC2
        elif marker == 0xE1:
            if file.startswith(EXIF_PREFIX, at + 2):  # further blocks continue the first
                exif.append(file[at + (8 if exif else 2) : at + length])
            elif file.startswith(_XMP_PREFIX, at + 2):
                xmp = file[at + 2 + len(_XMP_PREFIX) : at + length]
        elif marker == 0xDA:
            if frame is None:
                break
            has_many_scans = is_progressive or file[at + 2] < frame[3]
            is_suspect = has_many_scans and file.count(b"\xff\xda", at) >= MAX_JPEG_SCANS
            if is_suspect:
                take_apart(file)  # counts the scans of the image itself
            orientation = orientation_of(b"".join(exif), xmp)
            return _header(frame, orientation, has_something_appended=is_suspect)
        at += length
    raise InvalidInput("the JPEG holds no image; save it again")


def _next_jpeg_marker(file: bytes, at: int) -> tuple[int, int]:
    """Skip to the next marker as libjpeg does; return it and where its segment begins."""
    found = _MARKER.search(file, at)
    if found is None:
        raise truncated("header")
    return file[found.end() - 1], found.end()


def _header(
    frame: tuple[int, int, int, int], orientation: int, *, has_something_appended: bool
) -> ImageHeader:
    precision, height, width, components = frame
    if precision != 8 or components not in (1, 3, 4):
        raise InvalidInput(
            f"the JPEG has {components} components of {precision} bits; save it with 8 bits as"
            " grey, RGB or CMYK"
        )
    return ImageHeader(
        ImageFormat.JPEG, width, height, orientation, components, has_something_appended
    )
