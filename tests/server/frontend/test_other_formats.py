import base64
import time

import pytest
from PIL import Image

from service.frontend.errors import InvalidInput
from service.frontend.images.formats import read_header
from tests.support.image_files import encode

RED = Image.new("RGB", (32, 32), "red")
JPEG, PNG = encode(RED), encode(RED, "PNG")
SEND = "send a JPEG, PNG, WebP or BMP file"


def media(*brands: bytes) -> bytes:
    """The first box of a file of ISO's base media format."""
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(content) + 4).to_bytes(4) + content + b"\0\0\0\x08mdat"


@pytest.mark.parametrize(
    ("file", "what", "advice"),
    [
        (media(b"heic", b"mif1"), "a HEIC file", "save it as JPEG"),
        (media(b"mif1", b"heic"), "a HEIC file", SEND),
        (media(b"avif", b"mif1"), "an AVIF file", SEND),
        (media(b"mif1", b"avif", b"miaf"), "an AVIF file", SEND),
        (media(b"isom", b"mp42"), "an MP4 or QuickTime video", "take one frame"),
        (b"\xff\x0a\x7f\0", "a JPEG XL file", SEND),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0", "a JPEG XL file", SEND),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0", "a JPEG 2000 file", SEND),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG file", "render it"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- <a> -->\n<svg/>", "an SVG file", SEND),
        (b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC '-//W3C'><svg/>", "an SVG file", SEND),
        (b"<!DOCTYPE html>\n<html><svg/></html>", "an HTML page", "the address it came from"),
        (b"\n <html lang='en'>", "an HTML page", "send the image's own bytes"),
        (
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
            "an XML text",
            "address",
        ),
        (b'{"error": "not found"}', "a JSON text", "address"),
        (base64.b64encode(JPEG), "base64 text", "decode it first"),
        (base64.b64encode(PNG), "base64 text", "decode it first"),
        (base64.urlsafe_b64encode(JPEG), "base64 text", "decode it first"),
        (base64.encodebytes(PNG), "base64 text", "send the bytes of the image"),
        (b'"' + base64.b64encode(JPEG) + b'"', "base64 text", "decode it first"),
        (base64.b64encode(encode(RED, "GIF")), "base64 text", "decode it first"),
        (b"data:image/png;base64," + base64.b64encode(PNG), "a data URL", "decode it first"),
        (b"https://example.com/cat.jpg", "an address", "fetch the image"),
        (encode(RED, "GIF"), "a GIF file", SEND),
        (encode(RED, "TIFF"), "a TIFF file", SEND),
        (encode(RED, "PDF"), "a PDF file", SEND),
        (encode(RED, "ICO"), "an ICO file", SEND),
        (b"PK\x03\x04", "a ZIP archive", "unpack it"),
        (b"hello", "not an image file that this server reads", SEND),
        (b"abcdefghijklmnopqrstuvwxyz", "not an image file that this server reads", SEND),
        (bytes(100), "not an image file that this server reads", SEND),
    ],
)
def test_what_was_sent_instead_is_named_with_what_to_do(
    file: bytes, what: str, advice: str
) -> None:
    with pytest.raises(InvalidInput, match=f"the image is {what}; .*{advice}"):
        read_header(file)


@pytest.mark.parametrize("image_format", ["AVIF", "JPEG2000"])
def test_files_of_other_formats_are_named(image_format: str) -> None:
    with pytest.raises(InvalidInput, match=r"the image is a(n AVIF| JPEG 2000) file; export it"):
        read_header(encode(RED, image_format))


@pytest.mark.parametrize(
    "text", [b"<" * 32, b"<!---->", b"<a:", b"<?xml", b"A" * 16 + b"\n", b" ", b"{ "]
)
def test_a_long_text_is_recognised_at_once(text: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidInput):
        read_header(text * (8 << 20 // len(text)))
    assert time.perf_counter() - started < 1
