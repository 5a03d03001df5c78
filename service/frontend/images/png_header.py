"""Reads the header of a PNG file, and picks the chunks that are decoded."""

import struct
import zlib
from dataclasses import dataclass, field

from service.frontend.errors import InvalidInput
from service.frontend.images.header import ImageFormat, ImageHeader, truncated
from service.frontend.images.orientation import EXIF_PREFIX, orientation_of

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PNG_CHUNKS = 65_536  # 32 MiB in chunks of 512 bytes

_END = b"\0\0\0\0IEND\xaeB`\x82"
_PIXEL_CHUNKS = frozenset([b"IHDR", b"PLTE", b"IDAT", b"IEND"])
_TEXT_CHUNKS = frozenset([b"tEXt", b"zTXt", b"iTXt"])
# Keywords of texts that can state the orientation: EXIF as it is, EXIF in hexadecimal, XMP.
_EXIF, _HEX_EXIF, _XMP = b"exif", b"Raw profile type exif", b"XML:com.adobe.xmp"
_MAX_KEYWORD_BYTES = 80
_MAX_TEXT_BYTES = 1 << 20  # after inflation; Pillow opens no file with more
_MAX_TEXTS = 4  # of one keyword: the last that can be read counts


def read_png(file: memoryview) -> ImageHeader:
    """Keep only the chunks that the pixels need, without text, profiles and animation.

    The other chunks are not inflated, so they cannot be a decompression bomb. The texts that can
    state the orientation are inflated up to 1 MiB.

    Raises:
        InvalidInput: it is cut off, or no PNG that a program has a reason to write.
        struct.error: it is cut off.
    """
    if bytes(file[12:16]) != b"IHDR":
        raise InvalidInput("the PNG does not begin with its header; save it again")
    width, height = struct.unpack_from(">II", file, 16)
    at = len(PNG_SIGNATURE)
    chunks, metadata, has_pixels = [file[:at]], None, False
    for _ in range(MAX_PNG_CHUNKS):
        is_without_end = (
            len(file) - at < len(_END) and has_pixels and _END.startswith(bytes(file[at:]))
        )
        if is_without_end:
            file, at = memoryview(_END), 0
        length, kind = struct.unpack_from(">I4s", file, at)
        end = at + 12 + length
        if end > len(file):
            raise truncated("pixels")
        if kind in _PIXEL_CHUNKS:
            chunks.append(file[at:end])
            has_pixels = has_pixels or kind == b"IDAT"
        else:
            metadata = metadata or _Metadata()
            metadata.add(kind, file[at + 8 : end - 4], has_pixels=has_pixels)
        if kind == b"IEND":
            orientation = metadata.orientation() if metadata else 1
            return ImageHeader(
                ImageFormat.PNG,
                width,
                height,
                orientation,
                is_without_end=is_without_end,
                png_chunks=tuple(chunks),
            )
        at = end
    raise InvalidInput(f"the PNG has more than {MAX_PNG_CHUNKS} chunks; save it again")


@dataclass(slots=True)
class _Metadata:
    """What the chunks without pixels say of the orientation; a later chunk replaces an earlier."""

    _exif: bytes | None = None
    _texts: dict[bytes, list[tuple[bytes, memoryview]]] = field(
        default_factory=dict[bytes, list[tuple[bytes, memoryview]]]
    )
    _frames: int = 0
    _is_first_frame_over: bool = False

    def add(self, kind: bytes, content: memoryview, *, has_pixels: bool) -> None:
        """Take one chunk.

        Args:
            kind: its four letters.
            content: its data.
            has_pixels: whether an IDAT chunk came before.
        """
        if self._is_first_frame_over:
            return
        if kind == b"eXIf":
            self._exif = EXIF_PREFIX + bytes(content)
        elif kind in _TEXT_CHUNKS:
            keyword, _, text = bytes(content[:_MAX_KEYWORD_BYTES]).partition(b"\0")
            if keyword == _EXIF:
                is_plain = kind == b"tEXt"
                self._exif = bytes(content[len(_EXIF) + 1 :]) if is_plain else text
            elif keyword in (_HEX_EXIF, _XMP):
                self._texts.setdefault(keyword, []).append((kind, content))
        elif kind == b"acTL" and not has_pixels and len(content) >= 4:
            (self._frames,) = struct.unpack_from(">I", content)
        elif kind == b"fcTL":
            # Metadata of later frames is not that of the first. A file whose IDAT is no frame of
            # the animation has one image more.
            if has_pixels:
                self._is_first_frame_over = self._frames > 1
            elif self._frames == 1:
                self._frames = 0

    def orientation(self) -> int:
        exif = self._exif
        if exif is None and not self._texts:
            return 1
        if exif is None:
            lines = self._text(_HEX_EXIF).split(b"\n")
            try:  # a blank line, the kind of profile, its length, then its bytes
                exif = bytes.fromhex(b"".join(lines[3:]).decode("latin-1"))
            except ValueError:
                return 1
        return orientation_of(exif, self._text(_XMP))

    def _text(self, keyword: bytes) -> bytes:
        for kind, content in reversed(self._texts.get(keyword, [])[-_MAX_TEXTS:]):
            if text := _text_of(kind, bytes(content[len(keyword) + 1 :])):
                return text
        return b""


def _text_of(kind: bytes, content: bytes) -> bytes:
    """The text of a chunk behind its keyword; empty if it cannot be read."""
    if kind == b"tEXt":
        return content
    if kind == b"zTXt":
        return _inflated(content[1:])
    is_compressed = content[:1] != b"\0"
    _, _, text = (*content[2:].split(b"\0", 2), b"", b"", b"")[:3]  # language, translated keyword
    return _inflated(text) if is_compressed else text


def _inflated(content: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(content, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""
    return b"" if stream.unconsumed_tail else text
