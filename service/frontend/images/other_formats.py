"""Recognises what was sent instead of an image that the server reads, and says what to do."""

import base64
import binascii
import re

from service.frontend.errors import InvalidInput

SEND_INSTEAD = "send a JPEG, PNG, WebP or BMP file"

_EXPORT = f"export it, and {SEND_INSTEAD}"
_PHONE = f"let the phone or a converter save it as JPEG, and {SEND_INSTEAD}"
_FRAME = f"take one frame out of it, and {SEND_INSTEAD}"
_DOWNLOAD = (
    "check the address it came from (it may ask for a login), and send the image's own bytes"
)
_DECODE = "decode it first, and send the bytes of the image"
_SIGNATURES = (
    (b"GIF8", "a GIF file", SEND_INSTEAD),
    (b"II*\0", "a TIFF file", SEND_INSTEAD),
    (b"MM\0*", "a TIFF file", SEND_INSTEAD),
    (b"%PDF", "a PDF file", SEND_INSTEAD),
    (b"8BPS", "a PSD file", SEND_INSTEAD),
    (b"\xff\x0a", "a JPEG XL file", _EXPORT),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file", _EXPORT),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 file", _EXPORT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 file", _EXPORT),
    (b"\0\0\1\0", "an ICO file", SEND_INSTEAD),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", _FRAME),
    (b"PK\x03\x04", "a ZIP archive", "unpack it, and send each image"),
    (b"\x1f\x8b", "gzip data", "unpack it, and send the bytes of the image"),
)
# Brands of files in ISO's base media format; any other is a video.
_AVIF_BRANDS = frozenset([b"avif", b"avis"])
_HEIC_BRANDS = frozenset(
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"]
)
_MAX_BRANDS = 32
_TEXT_BYTES = 1024  # that are looked at
_HTML = re.compile(rb"<(?:!doctype html|html|head|body|title|script)\b", re.I)
_SVG = re.compile(rb"(?=<).*?<(?:svg:)?svg\b", re.I | re.S)
_RENDER = f"render it at the size that you need, and {SEND_INSTEAD}"
_FETCH = "fetch the image, and send its bytes"
_TEXTS = (
    (_HTML, "an HTML page", _DOWNLOAD),
    (_SVG, "an SVG file", _RENDER),
    (re.compile(rb"<\?xml|<\w+>"), "an XML text", _DOWNLOAD),
    (re.compile(rb"\{\s*\""), "a JSON text", _DOWNLOAD),
    (re.compile(rb"data:[\w/+.-]*;base64,"), "a data URL", _DECODE),
    (re.compile(rb"(?:https?|ftp|file|s3|gs)://"), "an address", _FETCH),
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_IMAGES_IN_BASE64 = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n", b"BM", b"RIFF"),
    *(signature for signature, _, _ in _SIGNATURES),
)


def refusal_of(file: bytes) -> InvalidInput:
    """The error for a file that is none of the accepted formats."""
    what, advice = _recognise(file) or ("not an image file that this server reads", SEND_INSTEAD)
    return InvalidInput(f"the image is {what}; {advice}")


def _recognise(file: bytes) -> tuple[str, str] | None:
    """What it is, and what to do."""
    if file[4:8] == b"ftyp":
        return _recognise_media(file)
    for signature, what, advice in _SIGNATURES:
        if file.startswith(signature):
            return what, advice
    text = file[:_TEXT_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, what, advice in _TEXTS:
        if pattern.match(text):
            return what, advice
    if _is_base64(text.lstrip(b"\"'")):
        return "base64 text", _DECODE
    return None


def _recognise_media(file: bytes) -> tuple[str, str]:
    size = min(int.from_bytes(file[:4]), 8 + 4 * _MAX_BRANDS)
    brands = {file[at : at + 4] for at in range(8, size, 4)}
    if brands & _AVIF_BRANDS:
        return "an AVIF file", _EXPORT
    if brands & _HEIC_BRANDS:
        return "a HEIC file", _PHONE
    return "an MP4 or QuickTime video", _FRAME


def _is_base64(text: bytes) -> bool:
    lines = text.split()
    found = _BASE64.match(lines[0]) if lines else None
    if found is None:
        return False
    start = found[0][:16].translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(start).startswith(_IMAGES_IN_BASE64)
    except binascii.Error:
        return False
