"""Files that are not as they should be: read where the pixels are complete, else refused."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data

from service import metrics
from service.frontend.errors import InvalidInput
from service.frontend.images.decode import ImageLimits, decode_upright, upright_size
from sightline.v1 import image_pb2
from tests.support.image_files import encode, jpeg_segment, png_with
from tests.support.png_files import png_chunk

CASES = Path(__file__).parents[4] / "shared" / "cases" / "images"
LIMITS = ImageLimits(
    max_image_bytes=32 << 20, max_image_pixels=64_000_000, max_image_side_px=16_384
)
PHOTO = Image.fromarray(data.coffee()).resize((90, 70))
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": "4:4:4"}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "restarts": ("RGB", {"restart_marker_blocks": 2}),
    "grey with restarts": ("L", {"restart_marker_blocks": 5}),
    "a restart a row": ("RGB", {"restart_marker_rows": 1}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive with restarts": ("RGB", {"progressive": True, "restart_marker_rows": 1}),
}
JPEGS = {name: encode(PHOTO.convert(mode), **options) for name, (mode, options) in FORMS.items()}
WITH_RESTARTS = [name for name in JPEGS if "restart" in name]
VIDEO = (
    b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\xff\xda\0\x0c\x03\1\0\2\x11\3\x11\0\x3f\0abc" * 5000
)


def decode(file: bytes) -> NDArray[np.uint8]:
    image = image_pb2.Image(encoded=file)
    return decode_upright(image, *upright_size(image, LIMITS), LIMITS)


def assert_same(file: bytes, clean: bytes) -> None:
    np.testing.assert_array_equal(decode(file), decode(clean))


def counted() -> dict[str, float]:
    faults = ("surplus_bytes", "scan_parameters", "no_end")
    return {fault: metrics.FAULTY_IMAGES.labels(fault)._value.get() for fault in faults}


def markers(jpeg: bytes) -> list[int]:
    """Where each segment before the first scan begins, the scan's header included."""
    found, at = [], 2
    while True:
        found.append(at)
        if jpeg[at + 1] == 0xDA:
            return found
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])


def restarts(jpeg: bytes) -> list[int]:
    return [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", jpeg)]


def inserted(file: bytes, at: int, surplus: bytes) -> bytes:
    return file[:at] + surplus + file[at:]


@pytest.mark.parametrize("surplus", [b"\0", b"\xff\0\xff\0", bytes(5000), b"\xff\xff\xff"])
@pytest.mark.parametrize("form", JPEGS)
def test_surplus_bytes_between_header_segments_are_skipped(form: str, surplus: bytes) -> None:
    jpeg = JPEGS[form]
    for at in markers(jpeg):
        assert_same(inserted(jpeg, at, surplus), jpeg)


@pytest.mark.parametrize("count", [1, 4, 30])
@pytest.mark.parametrize("form", WITH_RESTARTS)
def test_surplus_bytes_before_restart_markers_are_skipped(form: str, count: int) -> None:
    jpeg = JPEGS[form]
    everywhere = jpeg
    for at in reversed(restarts(jpeg)):
        assert_same(inserted(jpeg, at, bytes(count)), jpeg)
        everywhere = inserted(everywhere, at, bytes(count))
    assert_same(everywhere, jpeg)


@pytest.mark.parametrize("form", JPEGS)
def test_surplus_bytes_before_the_end_are_skipped(form: str) -> None:
    jpeg = JPEGS[form]
    for surplus in (b"\0", bytes(500)):
        assert_same(inserted(jpeg, len(jpeg) - 2, surplus), jpeg)


@pytest.mark.parametrize("has_end", [True, False], ids=["end", "no end"])
@pytest.mark.parametrize("form", JPEGS)
def test_whatever_is_appended_is_ignored(form: str, has_end: bool) -> None:
    jpeg = JPEGS[form]
    image = jpeg if has_end else jpeg[:-2]
    for appended in (b"", b"\xff", VIDEO, jpeg, JPEGS["progressive"] * 30, bytes(999), b"\xff\2ab"):
        assert_same(image + appended, jpeg)


@pytest.mark.parametrize("form", JPEGS)
@given(appended=st.binary(max_size=300), has_end=st.booleans(), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_any_bytes_may_follow_an_image(
    form: str, appended: bytes, has_end: bool, seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, 500 * seed, dtype=np.uint8).tobytes()
    jpeg = JPEGS[form]
    assert_same((jpeg if has_end else jpeg[:-2]) + appended + noise, jpeg)


@pytest.mark.parametrize("form", JPEGS)
def test_a_jpeg_cut_off_anywhere_is_refused_or_complete(form: str) -> None:
    jpeg = JPEGS[form]
    whole, complete = decode(jpeg), 0
    for kept in range(2, len(jpeg), 1 if len(jpeg) < 3000 else 7):
        for end in (b"", b"\xff\xd9"):
            try:
                pixels = decode(jpeg[:kept] + end)
            except InvalidInput as refusal:
                assert re.search("cut off|damaged|no image", str(refusal))
            else:
                # With its own end a progressive image may have fewer scans: nothing tells.
                assert (end and "progressive" in form) or (pixels == whole).all(), kept
                complete += kept < len(jpeg) - 8
    assert not complete or "progressive" in form


def test_a_progressive_jpeg_cut_off_between_scans_is_refused() -> None:
    jpeg = JPEGS["progressive"]
    scans = [found.start() for found in re.finditer(rb"\xff[\xc4\xda]", jpeg)]
    assert len(scans) > 10
    for at in scans:
        for appended in (b"", VIDEO):
            with pytest.raises(InvalidInput, match=r"cut off|damaged|no image"):
                decode(jpeg[:at] + appended)


@pytest.mark.parametrize("form", WITH_RESTARTS)
def test_a_lost_interval_is_not_hidden_by_surplus_bytes(form: str) -> None:
    jpeg = JPEGS[form]
    places = restarts(jpeg)
    surplus = inserted(jpeg, places[0], bytes(30))
    cut = 30 + (places[1] + places[2]) // 2
    with pytest.raises(InvalidInput, match=r"damaged|cut off"):
        decode(surplus[:cut] + surplus[30 + places[2] + 2 :])


def with_odd_scan_parameters(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xda") + 12
    return jpeg[:at] + b"\0" + jpeg[at + 1 :]


def test_lost_pixels_are_not_hidden_by_odd_scan_parameters() -> None:
    jpeg = JPEGS["baseline"]
    odd = with_odd_scan_parameters(jpeg)
    assert_same(odd, jpeg)
    with pytest.raises(InvalidInput, match="cut off"):
        decode(odd[:-100] + odd[-2:])


@pytest.mark.parametrize("form", ["baseline", "progressive"])
def test_too_many_scans_are_refused_though_something_is_appended(form: str) -> None:
    jpeg = JPEGS["progressive"]
    last = jpeg.rindex(b"\xff\xda")
    first = jpeg.index(b"\xff\xda")
    # Scans of a first refinement, again and again: the image never gets whole.
    coarse = jpeg[first : jpeg.index(b"\xff\xc4", first)]
    with pytest.raises(InvalidInput, match="more than 64 scans; save it as baseline"):
        decode(jpeg[:first] + coarse * 100 + b"\xff\xd9" + JPEGS[form])
    with pytest.raises(InvalidInput, match="more than 64 scans; save it as baseline"):
        decode(jpeg[:first] + coarse * 100 + jpeg[last:])


def test_many_segments_in_the_header_cost_no_time() -> None:
    jpeg = JPEGS["baseline"]
    surplus = b"\xff\0" * (4 << 20)
    assert_same(inserted(jpeg, markers(jpeg)[1], surplus), jpeg)
    assert_same(inserted(jpeg, 2, b"\xff" * (8 << 20)), jpeg)


@pytest.mark.parametrize("cut", range(1, 13))
def test_a_png_without_its_end_is_read(cut: int) -> None:
    png = encode(PHOTO, "PNG")
    assert_same(png[:-cut], png)


def test_a_png_without_its_end_and_pixels_is_refused() -> None:
    png = encode(PHOTO, "PNG")
    pixels = png.index(b"IDAT") - 4
    for kept in (pixels, pixels + 8, len(png) - 13, len(png) - 100):
        with pytest.raises(InvalidInput, match="cut off"):
            decode(png[:kept])
    half = png[pixels + 8 : pixels + 2000]
    with pytest.raises(InvalidInput, match="cut off"):
        decode(png[:pixels] + png_chunk(b"IDAT", half))


def test_whatever_follows_a_png_or_webp_is_ignored() -> None:
    for image_format in ("PNG", "WEBP", "BMP"):
        file = encode(PHOTO, image_format)
        for appended in (b"\0", VIDEO, file):
            assert_same(file + appended, file)


@pytest.mark.parametrize(
    ("fault", "file"),
    [
        ("surplus_bytes", inserted(JPEGS["baseline"], 2, bytes(3))),
        ("surplus_bytes", inserted(JPEGS["baseline"], len(JPEGS["baseline"]) - 2, bytes(30))),
        ("scan_parameters", with_odd_scan_parameters(JPEGS["baseline"])),
        ("no_end", JPEGS["progressive"][:-2]),
        ("no_end", JPEGS["baseline"][:-2] + VIDEO),
        ("no_end", encode(PHOTO, "PNG")[:-12]),
        (None, JPEGS["baseline"]),
        (None, JPEGS["progressive"] + VIDEO),
        (None, inserted(JPEGS["baseline"], 2, jpeg_segment(0xFE, b"comment"))),
        (None, png_with(encode(PHOTO, "PNG"), [png_chunk(b"tEXt", b"a\0b")])),
    ],
)
def test_every_image_answered_despite_a_fault_is_counted(fault: str | None, file: bytes) -> None:
    before = counted()
    decode(file)
    expected = before | ({fault: before[fault] + 1} if fault else {})
    assert counted() == expected


@pytest.mark.parametrize("name", sorted(each.name for each in CASES.glob("*")) or [None])
def test_public_cases_have_the_pixels_that_pillow_gives(name: str | None) -> None:
    if name is None:
        pytest.skip(f"no folder {CASES.relative_to(CASES.parents[2])} beside this checkout")
    file = (CASES / name).read_bytes()
    with Image.open(io.BytesIO(file)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_array_equal(decode(file), expected)
