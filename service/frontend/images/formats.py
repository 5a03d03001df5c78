"""Recognises the format of an image file and reads its header. Nothing is decoded.

A few bytes can declare an image that fills the memory. So every value that determines the cost of
decoding a file is read and bounded here, before the file reaches a decoder.
"""

import struct

from service.frontend.errors import InvalidInput
from service.frontend.images.header import ImageFormat, ImageHeader, truncated
from service.frontend.images.jpeg_header import read_jpeg
from service.frontend.images.orientation import orientation_of
from service.frontend.images.other_formats import refusal_of
from service.frontend.images.png_header import PNG_SIGNATURE, read_png

MAX_WEBP_CHUNKS = 4096

_WEBP_HAS_EXIF, _WEBP_HAS_XMP = 0x08, 0x04


def read_header(file: bytes) -> ImageHeader:
    """Read the header of ``file``.

    Raises:
        InvalidInput: the file is not an image of an accepted format, is cut off, or uses an
            encoding that no camera or program has a reason to use.
    """
    try:
        if file.startswith(b"\xff\xd8"):
            return read_jpeg(file)
        if file.startswith(PNG_SIGNATURE):
            return read_png(memoryview(file))
        if file.startswith(b"RIFF") and file[8:12] == b"WEBP":
            return _read_webp(file)
        if file.startswith(b"BM"):
            return _read_bmp(file)
    except (struct.error, IndexError) as err:
        raise truncated("header") from err
    raise refusal_of(file)


def _read_webp(file: bytes) -> ImageHeader:
    (riff_length,) = struct.unpack_from("<I", file, 4)
    if riff_length + 8 > len(file):
        raise truncated("pixels")
    kind, orientation = file[12:16], 1
    if kind == b"VP8X":
        width = 1 + int.from_bytes(file[24:27], "little")
        height = 1 + int.from_bytes(file[27:30], "little")
        orientation = _webp_orientation(file)
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", file, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", file, 26))
    else:
        raise InvalidInput("the WebP file holds no image; save it again")
    return ImageHeader(ImageFormat.WEBP, width, height, orientation)


def _webp_orientation(file: bytes) -> int:
    """From the first chunk of each kind that the file's flags announce."""
    flags, at, found = file[20], 12, dict[bytes, bytes]()
    for _ in range(MAX_WEBP_CHUNKS):
        if at + 8 > len(file):
            break
        kind, length = struct.unpack_from("<4sI", file, at)
        if kind in (b"EXIF", b"XMP "):
            found.setdefault(kind, file[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    exif = found.get(b"EXIF", b"") if flags & _WEBP_HAS_EXIF else b""
    xmp = found.get(b"XMP ", b"") if flags & _WEBP_HAS_XMP else b""
    return orientation_of(exif, xmp)


def _read_bmp(file: bytes) -> ImageHeader:
    start, header_length = struct.unpack_from("<II", file, 10)
    if header_length == 12:  # OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", file, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", file, 18)
    if compression not in (0, 3, 6):  # plain, or plain with colour masks
        raise InvalidInput("the BMP is compressed; save it as PNG")
    height = abs(height)  # negative: from the top down
    if start + (width * bits + 31) // 32 * 4 * height > len(file):
        raise truncated("pixels")
    return ImageHeader(ImageFormat.BMP, max(width, 0), height)
