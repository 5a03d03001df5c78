"""Image files built byte by byte, with parts that no encoder writes."""

import io
import struct
from collections.abc import Iterable

from PIL import Image

EXIF_PREFIX = b"Exif\0\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
ORIENTATION = 0x0112


def encode(image: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **{"quality": 90} | options)
    return file.getvalue()


def png_with(png_file: bytes, before: Iterable[bytes] = (), behind: Iterable[bytes] = ()) -> bytes:
    """A PNG with chunks added before and behind its pixels."""
    pixels, end = png_file.index(b"IDAT") - 4, png_file.rindex(b"IEND") - 4
    parts = (png_file[:pixels], *before, png_file[pixels:end], *behind, png_file[end:])
    return b"".join(parts)


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg_with(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments, or any other bytes, added behind its first marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def webp_with(
    webp: bytes, size: tuple[int, int], flags: int, *chunks: tuple[bytes, bytes]
) -> bytes:
    """A plain WebP made extended, with chunks added behind its pixels."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    parts = [_riff(b"VP8X", bytes([flags, 0, 0, 0]) + sides), webp[12:]]
    body = b"WEBP" + b"".join([*parts, *(_riff(*chunk) for chunk in chunks)])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def tiff(
    byte_order: bytes, entries: Iterable[tuple[int, int, int, bytes]], rest: bytes = b""
) -> bytes:
    """One directory of EXIF data.

    Args:
        byte_order: the first four bytes, as ``II*\\0`` or ``MM\\0*``.
        entries: each with its tag, type, number of values and the four bytes of its value.
        rest: behind the directory.
    """
    order = ">" if byte_order.startswith(b"MM") else "<"
    packed = [struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries]
    count = struct.pack(f"{order}H", len(packed))
    return byte_order + struct.pack(f"{order}I", 8) + count + b"".join(packed) + bytes(4) + rest


def oriented(orientation: int, byte_order: bytes = b"II*\0", kind: str = "H") -> bytes:
    """EXIF data, without its prefix, that states this orientation as SHORT (H) or LONG (I)."""
    order = ">" if byte_order.startswith(b"MM") else "<"
    value = struct.pack(f"{order}{kind}", orientation).ljust(4, b"\0")
    return tiff(byte_order, [(ORIENTATION, {"H": 3, "I": 4}[kind], 1, value)])


def xmp_of(orientation: int, *, as_element: bool = False) -> bytes:
    if as_element:
        return b"<x><tiff:Orientation>%d</tiff:Orientation></x>" % orientation
    return b'<x tiff:Orientation="%d"/>' % orientation


def hex_profile(exif: bytes) -> bytes:
    """The text of a PNG chunk as ImageMagick writes EXIF data."""
    return b"\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode())
