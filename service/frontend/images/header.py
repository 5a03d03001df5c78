"""Reads the header of an image file: its format, size and orientation. Nothing is decoded.

A few bytes can declare an image that fills the memory. So every value that determines the cost of
decoding a file is read and bounded here, before the file reaches a decoder.
"""

import struct
from dataclasses import dataclass
from enum import Enum

from service.frontend.errors import InvalidInput

MAX_JPEG_SCANS = 64  # a progressive photograph has about 10; each costs a pass over the image
MAX_JPEG_SEGMENTS = 4096
MAX_PNG_CHUNKS = 65_536  # 32 MiB in chunks of 512 bytes
MAX_WEBP_CHUNKS = 4096

SEND_INSTEAD = "send a JPEG, PNG, WebP or BMP file"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"8BPS": "PSD",
}
_EXIF_ORIENTATION_TAG = 0x0112
_STANDALONE_MARKERS = frozenset([0x01, *range(0xD0, 0xD9)])  # TEM, RST0..7, SOI: no length follows
_OTHER_FRAMES = frozenset([0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)])


class ImageFormat(Enum):
    """The accepted formats."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    BMP = "BMP"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """How an image is stored, before it is turned upright."""

    format: ImageFormat
    width: int
    height: int
    orientation: int = 1  # as EXIF counts: 1 (upright) to 8
    components: int = 3  # JPEG only: 1 grey, 3 colour, 4 CMYK
    png_chunks: tuple[memoryview, ...] = ()  # PNG only: the chunks that the pixels need

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in px, after the image is turned upright."""
        is_turned = self.orientation >= 5
        return (self.height, self.width) if is_turned else (self.width, self.height)


def read_header(file: bytes) -> ImageHeader:
    """Read the header of ``file``.

    Raises:
        InvalidInput: the file is not an image of an accepted format, is cut off, or uses an
            encoding that no camera or program has a reason to use.
    """
    try:
        if file.startswith(b"\xff\xd8"):
            return _read_jpeg(file)
        if file.startswith(_PNG_SIGNATURE):
            return _read_png(memoryview(file))
        if file.startswith(b"RIFF") and file[8:12] == b"WEBP":
            return _read_webp(file)
        if file.startswith(b"BM"):
            return _read_bmp(file)
    except (struct.error, IndexError) as err:
        raise truncated("header") from err
    found = _OTHER_FORMATS.get(file[:4])
    what = f"is a {found} file" if found else "is not an image file that this server reads"
    raise InvalidInput(f"the image {what}; {SEND_INSTEAD}")


def truncated(what: str) -> InvalidInput:
    """The error for a file without its end."""
    return InvalidInput(f"the image file is cut off in its {what}; send the whole file")


def _read_jpeg(file: bytes) -> ImageHeader:
    frame: tuple[int, int, int, int] | None = None  # precision, height, width, components
    orientation, is_progressive, at = 1, False, 2
    for _ in range(MAX_JPEG_SEGMENTS):
        marker, at = _next_jpeg_marker(file, at)
        if marker in _STANDALONE_MARKERS:
            continue
        (length,) = struct.unpack_from(">H", file, at)
        if marker in _OTHER_FRAMES:
            raise InvalidInput(
                "the JPEG is arithmetically coded or lossless; save it as baseline or progressive"
            )
        if marker in (0xC0, 0xC1, 0xC2):
            frame, is_progressive = struct.unpack_from(">BHHB", file, at + 2), marker == 0xC2
        elif marker == 0xE1 and file[at + 2 : at + 8] == b"Exif\0\0":
            orientation = _orientation_of(file[at + 8 : at + length])
        elif marker == 0xD9 or length < 2:
            break
        elif marker == 0xDA:
            if frame is None:
                break
            has_many_scans = is_progressive or file[at + 2] < frame[3]
            if has_many_scans and file.count(b"\xff\xda", at) >= MAX_JPEG_SCANS:
                raise InvalidInput(
                    f"the JPEG has more than {MAX_JPEG_SCANS} scans; save it as baseline"
                )
            return _jpeg_header(frame, orientation)
        at += length
    raise InvalidInput("the JPEG holds no image; save it again")


def _next_jpeg_marker(file: bytes, at: int) -> tuple[int, int]:
    """Skip to the next marker as libjpeg does; return it and where its segment begins."""
    while True:
        at = file.find(b"\xff", at)
        if at < 0:
            raise truncated("header")
        while file[at] == 0xFF:
            at += 1
        if file[at]:
            return file[at], at + 1


def _jpeg_header(frame: tuple[int, int, int, int], orientation: int) -> ImageHeader:
    precision, height, width, components = frame
    if precision != 8 or components not in (1, 3, 4):
        raise InvalidInput(
            f"the JPEG has {components} components of {precision} bits; save it with 8 bits as"
            " grey, RGB or CMYK"
        )
    return ImageHeader(ImageFormat.JPEG, width, height, orientation, components)


def _read_png(file: memoryview) -> ImageHeader:
    """Keep only the chunks that the pixels need, without text, profiles and animation.

    The other chunks are never inflated, so they cannot be a decompression bomb.
    """
    if bytes(file[12:16]) != b"IHDR":
        raise InvalidInput("the PNG does not begin with its header; save it again")
    width, height = struct.unpack_from(">II", file, 16)
    orientation, at = 1, len(_PNG_SIGNATURE)
    chunks = [file[:at]]
    for _ in range(MAX_PNG_CHUNKS):
        length, kind = struct.unpack_from(">I4s", file, at)
        end = at + 12 + length
        if end > len(file):
            raise truncated("pixels")
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            chunks.append(file[at:end])
        elif kind == b"eXIf":
            orientation = _orientation_of(bytes(file[at + 8 : end - 4]))
        if kind == b"IEND":
            return ImageHeader(
                ImageFormat.PNG, width, height, orientation, png_chunks=tuple(chunks)
            )
        at = end
    raise InvalidInput(f"the PNG has more than {MAX_PNG_CHUNKS} chunks; save it again")


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
    at = 12
    for _ in range(MAX_WEBP_CHUNKS):
        if at + 8 > len(file):
            break
        kind, length = struct.unpack_from("<4sI", file, at)
        if kind == b"EXIF":
            return _orientation_of(file[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return 1


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


def _orientation_of(tiff: bytes) -> int:
    """Read the orientation from an EXIF block.

    Args:
        tiff: the block from its byte order (``II`` or ``MM``) on.

    Returns:
        1 (upright) to 8; 1 if the block is damaged or has no orientation, as a viewer would assume.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == _EXIF_ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # damaged
        return 1
    return 1
