"""Held against Pillow: what `ImageOps.exif_transpose` turns, the server and the client turn."""

import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.frontend.images.decode import ImageLimits, decode_upright, upright_size
from sightline.requests.images import image_from
from sightline.v1 import image_pb2
from tests.support.image_files import (
    EXIF_PREFIX,
    ORIENTATION,
    XMP_PREFIX,
    encode,
    hex_profile,
    jpeg_segment,
    jpeg_with,
    oriented,
    png_with,
    tiff,
    webp_with,
    xmp_of,
)
from tests.support.png_files import png_chunk

LIMITS = ImageLimits(max_image_bytes=1 << 20, max_image_pixels=1_000_000, max_image_side_px=10_000)
SIZE = 24, 16
IMAGE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
)
JPEG, PNG = encode(IMAGE), encode(IMAGE, "PNG")
WEBP = encode(IMAGE, "WEBP", lossless=True)
# For JPEG without a resolution, Pillow reads the EXIF data when it opens the file.
JPEGS = (JPEG, encode(IMAGE, dpi=(72, 72)))


def served(file: bytes) -> NDArray[np.uint8]:
    image = image_pb2.Image(encoded=file)
    return decode_upright(image, *upright_size(image, LIMITS), LIMITS)


def sent_as_object(file: bytes) -> NDArray[np.uint8]:
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(file)) as opened:
        pixels = image_from(opened, max_bytes=1 << 20).pixels
    shape = pixels.height, pixels.width, pixels.channels
    return np.frombuffer(pixels.data, np.uint8).reshape(shape)


def pillows(file: bytes) -> NDArray[np.uint8]:
    """What Pillow shows; as stored, if Pillow cannot read the metadata."""
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(file)) as opened:
        stored = opened.convert("RGB")
        try:
            orientation = opened.getexif().get(ORIENTATION, 1)
        except (SyntaxError, struct.error, TypeError, ValueError):
            return np.asarray(stored)
        try:
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        except (struct.error, TypeError, ValueError):
            # Only the metadata for the turned image could not be written.
            bare = Image.fromarray(np.asarray(stored))
            bare.getexif()[ORIENTATION] = int(orientation)
            return np.asarray(ImageOps.exif_transpose(bare))


def assert_turned_as_pillow_does(file: bytes) -> None:
    expected = pillows(file)
    np.testing.assert_array_equal(served(file), expected)
    np.testing.assert_array_equal(sent_as_object(file), expected)


def exif_segment(content: bytes) -> bytes:
    return jpeg_segment(0xE1, EXIF_PREFIX + content)


def text_chunk(keyword: bytes, text: bytes, kind: bytes = b"tEXt") -> bytes:
    head = {
        b"tEXt": b"\0",
        b"zTXt": b"\0\0",
        b"iTXt": b"\0\0\0\0\0",
        b"iTXz": b"\0\1\0\0\0",
    }[kind]
    if kind in (b"zTXt", b"iTXz"):
        text = zlib.compress(text)
    return png_chunk(kind.replace(b"z", b"t") if kind == b"iTXz" else kind, keyword + head + text)


SIX, ONE = oriented(6), oriented(1)
SILENT = tiff(b"II*\0", [(0x010F, 2, 4, b"abc\0")])
STATED_IN = {
    "EXIF": jpeg_with(JPEG, exif_segment(SIX)),
    "big-endian": jpeg_with(JPEG, exif_segment(oriented(6, b"MM\0*"))),
    "LONG": jpeg_with(JPEG, exif_segment(oriented(6, kind="I"))),
    "big-endian LONG": jpeg_with(JPEG, exif_segment(oriented(6, b"MM\0*", "I"))),
    "the first of two blocks": jpeg_with(JPEG, exif_segment(SIX), exif_segment(ONE)),
    "a block before a silent one": jpeg_with(JPEG, exif_segment(SIX), exif_segment(SILENT)),
    "a block in pieces": jpeg_with(JPEG, exif_segment(SIX[:13]), exif_segment(SIX[13:])),
    "a block with two prefixes": jpeg_with(JPEG, exif_segment(EXIF_PREFIX + SIX)),
    "XMP": jpeg_with(JPEG, jpeg_segment(0xE1, XMP_PREFIX + xmp_of(6))),
    "an element of XMP": jpeg_with(
        JPEG, jpeg_segment(0xE1, XMP_PREFIX + xmp_of(6, as_element=True))
    ),
    "XMP beside silent EXIF": jpeg_with(
        JPEG, exif_segment(SILENT), jpeg_segment(0xE1, XMP_PREFIX + xmp_of(6))
    ),
    "PNG": png_with(PNG, [png_chunk(b"eXIf", SIX)]),
    "PNG behind its pixels": png_with(PNG, (), [png_chunk(b"eXIf", SIX)]),
    "PNG with the prefix": png_with(PNG, [png_chunk(b"eXIf", EXIF_PREFIX + SIX)]),
    "a text of PNG": png_with(
        PNG, [text_chunk(b"Raw profile type exif", hex_profile(EXIF_PREFIX + SIX))]
    ),
    "a compressed text of PNG": png_with(
        PNG, [text_chunk(b"Raw profile type exif", hex_profile(EXIF_PREFIX + SIX), b"zTXt")]
    ),
    "a plain text of PNG": png_with(PNG, [text_chunk(b"exif", SIX)]),
    "XMP of PNG": png_with(PNG, (), [text_chunk(b"XML:com.adobe.xmp", xmp_of(6), b"iTXt")]),
    "compressed XMP of PNG": png_with(PNG, [text_chunk(b"XML:com.adobe.xmp", xmp_of(6), b"iTXz")]),
    "WebP": webp_with(WEBP, SIZE, 8, (b"EXIF", SIX)),
    "WebP with the prefix": webp_with(WEBP, SIZE, 8, (b"EXIF", EXIF_PREFIX + SIX)),
    "XMP of WebP": webp_with(WEBP, SIZE, 4, (b"XMP ", xmp_of(6))),
}


@pytest.mark.parametrize("place", STATED_IN)
def test_an_orientation_is_found_wherever_it_is_stated(place: str) -> None:
    assert served(STATED_IN[place]).shape == (*SIZE, 3)
    assert_turned_as_pillow_does(STATED_IN[place])


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["H", "I"])
@pytest.mark.parametrize("byte_order", [b"II*\0", b"MM\0*"])
def test_every_orientation_turns_as_pillow_does(
    byte_order: bytes, kind: str, orientation: int
) -> None:
    exif = oriented(orientation, byte_order, kind)
    assert_turned_as_pillow_does(jpeg_with(JPEG, exif_segment(exif)))
    assert_turned_as_pillow_does(png_with(PNG, [png_chunk(b"eXIf", exif)]))
    assert_turned_as_pillow_does(webp_with(WEBP, SIZE, 8, (b"EXIF", exif)))


def test_a_text_that_would_fill_the_memory_is_not_inflated() -> None:
    bomb = hex_profile(SIX) + b" " * (64 << 20)
    file = png_with(PNG, [text_chunk(b"Raw profile type exif", bomb, b"zTXt")])
    tracemalloc.start()
    try:
        assert served(file).shape == (*SIZE[::-1], 3)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("frames", [1, 2])
def test_the_metadata_of_later_frames_turns_nothing(frames: int) -> None:
    other = IMAGE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    more = [other] * (frames - 1)
    animated = encode(IMAGE, "PNG", save_all=True, append_images=more, default_image=frames == 1)
    assert_turned_as_pillow_does(png_with(animated, (), [png_chunk(b"eXIf", SIX)]))
    assert_turned_as_pillow_does(png_with(animated, [png_chunk(b"eXIf", SIX)]))


orientations = st.integers(0, 9)
byte_orders = st.sampled_from(
    [b"II*\0", b"MM\0*"] * 3 + [b"II\0*", b"MM*\0", b"II+\0", b"MM\0+", b"XX*\0"]
)
four_bytes = st.binary(min_size=4, max_size=4) | st.builds(
    lambda number, form: struct.pack(form, number).ljust(4, b"\0"),
    orientations,
    st.sampled_from(["<H", ">H", "<I", ">I", "<f", ">f", "B"]),
)
entries = st.tuples(
    st.sampled_from([ORIENTATION] * 3 + [0x010F, 0x011A, 0x0128, 0x8769]),
    st.integers(0, 18) | st.sampled_from([3, 4]),
    st.sampled_from([1, 1, 1, 2, 0, 3, 9, 40, 1 << 20, 1 << 31]),
    four_bytes | st.integers(0, 90).map(lambda offset: struct.pack("<I", offset)),
)
tail = st.binary(max_size=20) | st.builds(
    lambda number: struct.pack("<IIII", number, 1, number, 1), orientations
)


@st.composite
def exif_data(draw: st.DrawFn) -> bytes:
    block = tiff(draw(byte_orders), draw(st.lists(entries, max_size=4)), draw(tail))
    if draw(st.integers(0, 5)) == 0:
        block = block[: draw(st.integers(0, len(block)))]
    return EXIF_PREFIX * draw(st.sampled_from([0, 0, 0, 1, 2])) + block


xmps = st.builds(lambda number, form: xmp_of(number, as_element=form), orientations, st.booleans())


@given(
    plain=st.sampled_from(JPEGS),
    blocks=st.lists(exif_data(), max_size=3),
    cuts=st.lists(st.integers(0, 60), max_size=2),
    xmp=st.lists(xmps, max_size=2),
    is_xmp_first=st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_any_jpeg_is_turned_as_pillow_does(
    plain: bytes, blocks: list[bytes], cuts: list[int], xmp: list[bytes], is_xmp_first: bool
) -> None:
    for cut in cuts:
        if blocks:  # in pieces
            blocks[:1] = [blocks[0][:cut], blocks[0][cut:]]
    segments = [exif_segment(block) for block in blocks]
    packets = [jpeg_segment(0xE1, XMP_PREFIX + packet) for packet in xmp]
    parts = packets + segments if is_xmp_first else segments + packets
    assert_turned_as_pillow_does(jpeg_with(plain, *parts))


chunks = st.one_of(
    exif_data().map(lambda exif: png_chunk(b"eXIf", exif)),
    st.builds(
        lambda exif, kind: text_chunk(b"Raw profile type exif", hex_profile(exif), kind),
        exif_data(),
        st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iTXz"]),
    ),
    st.builds(
        lambda xmp, kind: text_chunk(b"XML:com.adobe.xmp", xmp, kind),
        xmps,
        st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iTXz"]),
    ),
    exif_data().map(lambda exif: text_chunk(b"exif", exif)),
)


@given(before=st.lists(chunks, max_size=2), behind=st.lists(chunks, max_size=2))
@settings(max_examples=400, deadline=None)
def test_any_png_is_turned_as_pillow_does(before: list[bytes], behind: list[bytes]) -> None:
    assert_turned_as_pillow_does(png_with(PNG, before, behind))


@given(
    flags=st.sampled_from([0, 4, 8, 12]),
    parts=st.lists(
        exif_data().map(lambda exif: (b"EXIF", exif)) | xmps.map(lambda xmp: (b"XMP ", xmp)),
        max_size=3,
    ),
)
@settings(max_examples=300, deadline=None)
def test_any_webp_is_turned_as_pillow_does(flags: int, parts: list[tuple[bytes, bytes]]) -> None:
    assert_turned_as_pillow_does(webp_with(WEBP, SIZE, flags, *parts))
