import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from export.artifact.preprocess import preprocess_image
from service.artifact.manifest import ImagePreprocessing
from service.frontend.errors import InvalidInput
from service.frontend.images.decode import ImageLimits, decode_image
from service.processing.placement import place
from sightline.v1 import image_pb2
from tests.support.image_files import encode
from tests.support.png_files import SIGNATURE, png_chunk, png_file

LIMITS = ImageLimits(
    max_image_bytes=32 << 20, max_image_pixels=64_000_000, max_image_side_px=16_384
)
NETWORK = ImagePreprocessing(height=224, width=224, crop_share=0.875)

# The tolerance of ADR 0003, in levels of 0..255, against the training transform.
MAX_MEAN_ERROR = 2.5
MAX_P99_ERROR = 20
MAX_MEAN_ERROR_OVER_PHOTOS = 1.5
PHOTOS = ("astronaut", "camera", "chelsea", "coffee", "coins", "moon", "retina", "rocket")


def photo(name: str = "coffee") -> Image.Image:
    return Image.fromarray(getattr(data, name)())


def decode(
    encoded: bytes,
    network: ImagePreprocessing = NETWORK,
    limits: ImageLimits = LIMITS,
    *,
    exact: bool = False,
) -> NDArray[np.uint8]:
    row = np.full((network.height, network.width, network.channels), 77, np.uint8)
    decode_image(image_pb2.Image(encoded=encoded), network, row, limits, exact=exact)
    return row


def decode_pixels(
    pixels: NDArray[np.uint8], network: ImagePreprocessing = NETWORK, *, exact: bool = False
) -> NDArray[np.uint8]:
    height, width, channels = pixels.shape
    message = image_pb2.Pixels(data=pixels.tobytes(), height=height, width=width, channels=channels)
    row = np.full((network.height, network.width, network.channels), 77, np.uint8)
    decode_image(image_pb2.Image(pixels=message), network, row, LIMITS, exact=exact)
    return row


def errors(
    encoded: bytes, reference: bytes | Image.Image, network: ImagePreprocessing = NETWORK
) -> NDArray[np.int64]:
    return np.abs(decode(encoded, network) - preprocess_image(reference, network).astype(int))


def assert_close(
    encoded: bytes,
    reference: bytes | Image.Image | None = None,
    network: ImagePreprocessing = NETWORK,
) -> None:
    error = errors(encoded, reference or encoded, network)
    assert error.mean() <= MAX_MEAN_ERROR
    assert np.percentile(error, 99) <= MAX_P99_ERROR


def patched(file: bytes, at: int, patch: bytes) -> bytes:
    return file[:at] + patch + file[at + len(patch) :]


def jpeg_frame(jpeg: bytes) -> int:
    """Where the frame header (SOF0 or SOF2) of a plain JPEG begins."""
    return max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2"))


# Within the tolerance


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.2, 1.465, 1.6, 1.99, 2.2, 2.9, 4.1])
def test_photographs_are_within_the_tolerance_of_the_training_transform(
    ratio: float, interpolation: Literal["bilinear", "bicubic"]
) -> None:
    network = ImagePreprocessing(
        height=128, width=128, crop_share=0.875, interpolation=interpolation
    )
    means = []
    for name in PHOTOS:
        image = photo(name)
        scale = min(1.0, ratio * 128 / 0.875 / min(image.size))
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        error = errors(jpeg := encode(image), jpeg, network)
        assert error.mean() <= MAX_MEAN_ERROR, name
        assert np.percentile(error, 99) <= MAX_P99_ERROR, name
        means.append(error.mean())
    assert np.mean(means) <= MAX_MEAN_ERROR_OVER_PHOTOS


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    "size",
    [
        (333, 500),
        (500, 333),
        (1, 1),
        (7, 3),
        (2, 900),
        (900, 2),
        (223, 225),
        (1411, 1411),
        (4501, 907),
    ],
    ids=str,
)
def test_any_size_is_within_the_tolerance(size: tuple[int, int], image_format: str) -> None:
    image = photo("retina").resize(size)
    assert_close(encode(image, image_format))


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    row=st.tuples(st.integers(8, 300), st.integers(8, 300)),
    fit=st.sampled_from(["crop", "stretch", "letterbox"]),
    crop_share=st.floats(0.05, 1),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    orientation=st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_any_geometry_lands_where_the_training_transform_puts_it(
    width: int, height: int, row: tuple[int, int], orientation: int, **how: Any
) -> None:
    # A ramp shows a shift of a pixel, and no filter changes it but at the edges.
    ramp = np.stack(
        [
            np.linspace(20, 230, width)[None, :].repeat(height, 0),
            np.linspace(20, 230, height)[:, None].repeat(width, 1),
            np.full((height, width), 128.0),
        ],
        axis=-1,
    )
    image = Image.fromarray(ramp.astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    network = ImagePreprocessing(height=row[0], width=row[1], **how)
    encoded = encode(image, "PNG", exif=exif)
    error = errors(encoded, encoded, network)
    upright = (height, width) if orientation >= 5 else (width, height)
    left, top, right, bottom = place(*upright, network).target
    # At its edges a filter sees half of the ramp.
    inner = error[top + 1 : bottom - 1, left + 1 : right - 1].copy()
    error[top:bottom, left:right] = 0
    assert not error.any(), "padding"
    assume(inner.size)
    step = 210 / max(1, min(width, height) - 1)  # one pixel of the image, in levels
    assert inner.mean() <= 2 + 0.5 * step
    assert inner.max() <= 4 + 1.5 * step


@pytest.mark.parametrize("row", [(1, 1), (1, 2), (3, 1), (1, 300)], ids=str)
def test_the_smallest_networks_get_their_row(row: tuple[int, int]) -> None:
    network = ImagePreprocessing(height=row[0], width=row[1])
    encoded = encode(photo("chelsea"))
    assert errors(encoded, encoded, network).mean() < 20


def test_one_colour_stays_that_colour() -> None:
    for size in [(500, 375), (1700, 1100), (30, 20), (3, 900)]:
        grey = Image.new("RGB", size, (10, 128, 250))
        assert np.abs(decode(encode(grey, "PNG")) - np.array([10, 128, 250])).max() <= 1


def test_an_image_of_the_size_of_the_network_stays_exact_where_nothing_is_cropped() -> None:
    network = ImagePreprocessing(height=400, width=600)
    assert (decode(encode(photo(), "PNG"), network) == np.asarray(photo())).all()


# Exactly


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    row=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    fit=st.sampled_from(["crop", "stretch", "letterbox", "pad"]),
    crop_share=st.floats(0.05, 1),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    orientation=st.integers(1, 8),
    seed=st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_exact_decoding_equals_the_training_transform_to_the_bit(
    width: int, height: int, row: tuple[int, int], orientation: int, seed: int, **how: Any
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    network = ImagePreprocessing(height=row[0], width=row[1], **how)
    encoded = encode(Image.fromarray(noise), "PNG", exif=exif)
    expected = preprocess_image(encoded, network)
    np.testing.assert_array_equal(decode(encoded, network, exact=True), expected)
    if orientation == 1 and (height, width) != row:
        np.testing.assert_array_equal(decode_pixels(noise, network, exact=True), expected)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(30, 20), (600, 400), (2400, 1601)], ids=str)
@pytest.mark.parametrize(
    ("mode", "image_format", "largest_error"),
    [
        ("RGB", "JPEG", 0),
        ("L", "JPEG", 0),
        ("RGBA", "PNG", 0),
        ("RGB", "WEBP", 0),
        ("CMYK", "JPEG", 3),
    ],
)
def test_exact_decoding_holds_for_every_file_format(
    mode: str, image_format: str, largest_error: int, size: tuple[int, int], orientation: int
) -> None:
    image = photo().resize(size).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(size))
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(image, image_format, exif=exif)
    network = ImagePreprocessing(height=100, width=150, fit="letterbox")
    error = np.abs(
        decode(encoded, network, exact=True) - preprocess_image(encoded, network).astype(int)
    )
    assert error.max() <= largest_error  # ink becomes colour after resizing here


# Formats and modes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "image_format", "options"),
    [
        ("RGB", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "JPEG", {"subsampling": "4:4:4"}),
        ("RGB", "JPEG", {"subsampling": "4:2:2", "optimize": True}),
        ("RGB", "JPEG", {"keep_rgb": True}),
        ("RGB", "JPEG", {"restart_marker_rows": 1}),
        ("L", "JPEG", {}),
        ("L", "JPEG", {"progressive": True}),
        ("CMYK", "JPEG", {}),
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("L", "PNG", {}),
        ("LA", "PNG", {}),
        ("1", "PNG", {}),
        ("P", "PNG", {}),
        ("P", "PNG", {"bits": 4}),
        ("P", "PNG", {"transparency": 0}),
        ("I;16", "PNG", {}),
        ("RGB", "WEBP", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("RGBA", "WEBP", {}),
        ("RGB", "BMP", {}),
        ("RGBA", "BMP", {}),
        ("L", "BMP", {}),
        ("P", "BMP", {}),
        ("1", "BMP", {}),
    ],
)
def test_every_format_and_mode_is_read_as_the_training_transform_reads_it(
    mode: str, image_format: str, options: dict[str, object], channels: int
) -> None:
    image = photo()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA"):
        image = image.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    elif options.get("bits"):
        image = image.quantize(16)
    else:
        image = image.convert(mode)
    network = NETWORK.model_copy(update={"channels": channels})
    encoded = encode(image, image_format, **options)
    reference = encoded
    if options.get("transparency") is not None:
        reference = encode(image, image_format)
    if mode == "1":
        assert_dithered_is_close(encoded, network)
    else:
        assert_close(encoded, reference, network)


def assert_dithered_is_close(encoded: bytes, network: ImagePreprocessing) -> None:
    """Black and white dots are the worst case of any filter; their averages must still agree."""
    rows = decode(encoded, network), preprocess_image(encoded, network)
    small = [np.asarray(Image.fromarray(np.squeeze(row)).reduce(8), dtype=int) for row in rows]
    assert np.abs(small[0] - small[1]).mean() <= MAX_MEAN_ERROR


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_cut_to_its_upper_bytes(colour: int, channels: int) -> None:
    upright = np.asarray(photo().resize((60, 40)))
    has_alpha = channels in (2, 4)
    colours = channels - has_alpha
    samples = np.full((40, 60, channels), 0xFFFF, ">u2")
    samples[:, :, :colours] = upright[:, :, :colours].astype(">u2") * 256 + 255
    lines = b"".join(b"\0" + line.tobytes() for line in samples)
    chunk = png_chunk(b"IDAT", zlib.compress(lines))
    row = decode(
        png_file(60, 40, chunk, bits=16, colour=colour), ImagePreprocessing(height=40, width=60)
    )
    expected = upright if channels > 2 else upright[:, :, :1].repeat(3, 2)
    assert (row == expected).all()


def test_interlaced_png_is_read() -> None:
    # Adam7 of 1 x 1 px is one pass with one line.
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1))
    line = png_chunk(b"IDAT", zlib.compress(b"\0\x01\x02\x03"))
    file = SIGNATURE + header + line + png_chunk(b"IEND", b"")
    row = decode(file, ImagePreprocessing(height=2, width=2))
    assert (row == [1, 2, 3]).all()


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_colours_under_full_transparency_count(image_format: str) -> None:
    image = Image.new("RGBA", (50, 50), (200, 100, 50, 0))
    row = decode(encode(image, image_format, lossless=True, exact=True))
    assert (row == [200, 100, 50]).all()


@pytest.mark.parametrize("image_format", ["WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_used(image_format: str) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "lime", "blue")]
    encoded = encode(
        frames[0], image_format, save_all=True, append_images=frames[1:], lossless=True
    )
    assert (decode(encoded) == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_honoured(orientation: int, image_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    network = ImagePreprocessing(height=150, width=200, crop_share=0.9)
    encoded = encode(photo("astronaut").crop((0, 0, 400, 512)), image_format, exif=exif)
    assert_close(encoded, encoded, network)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II",
        b"II*\0",
        b"MM\0*\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\1\0\x12\x01\3\0\1\0\0\0\x63\0\0\0",
    ],
)
def test_broken_exif_means_upright(exif: bytes) -> None:
    plain = encode(photo())
    segment = b"Exif\0\0" + exif
    marked = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
    assert (decode(marked) == decode(plain)).all()


# Bare pixels


def test_pixels_of_the_size_of_the_network_are_used_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    assert (decode_pixels(pixels) == pixels).all()


def test_pixels_of_another_size_are_cropped_and_resized() -> None:
    expected = preprocess_image(photo(), NETWORK)
    error = np.abs(decode_pixels(np.asarray(photo())) - expected.astype(int))
    assert error.mean() <= MAX_MEAN_ERROR


@pytest.mark.parametrize("size", [(224, 224), (300, 250)], ids=str)
def test_pixels_may_be_grey_for_a_colour_network_and_the_reverse(size: tuple[int, int]) -> None:
    colour = photo().resize(size)
    grey = np.asarray(colour.convert("L"))[:, :, None]
    row = decode_pixels(grey)
    assert (row == row[:, :, :1]).all()
    network = NETWORK.model_copy(update={"channels": 1})
    reverse = decode_pixels(np.asarray(colour), network)
    assert np.abs(reverse - row[:, :, :1].astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "channels", "size", "says"),
    [
        (4, 4, 3, 47, "47 bytes, but 4 x 4 x 3"),
        (4, 4, 3, 49, "send one byte for each"),
        (4, 4, 2, 32, "2 channels; send 1"),
        (4, 4, 4, 64, "4 channels"),
        (4, 4, 0, 0, "0 channels"),
        (0, 4, 3, 0, "4 x 0 px"),
        (4, 0, 1, 0, "0 x 4 px"),
        (65_535, 65_535, 3, 12, "scaled down"),
        (2**32 - 1, 2**32 - 1, 3, 3, "scaled down"),
    ],
)
def test_pixels_that_do_not_fit_their_shape_are_refused(
    height: int, width: int, channels: int, size: int, says: str
) -> None:
    pixels = image_pb2.Pixels(data=bytes(size), height=height, width=width, channels=channels)
    with pytest.raises(InvalidInput, match=says):
        decode_image(
            image_pb2.Image(pixels=pixels), NETWORK, np.zeros((224, 224, 3), np.uint8), LIMITS
        )


# Bad files


def test_an_image_without_content_is_refused() -> None:
    with pytest.raises(InvalidInput, match="set either `encoded` or `pixels`"):
        decode_image(image_pb2.Image(), NETWORK, np.zeros((224, 224, 3), np.uint8), LIMITS)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"", "0 bytes; send the whole file"),
        (b"\0" * 100, "not an image file"),
        (b"hello", "send a JPEG, PNG, WebP or BMP"),
        (b"<svg/>", "send a JPEG"),
        (b"\xff\xd8", "cut off in its header"),
        (b"\xff\xd8\xff", "cut off in its header"),
        (b"\xff\xd8\xff\xd9\0\0", "holds no image"),
        (b"\x89PNG\r\n\x1a\n", "does not begin with its header"),
        (b"RIFF\x04\0\0\0WEBP", "holds no image"),
        (b"RIFF\xff\0\0\0WEBP", "cut off"),
        (b"BM", "cut off in its header"),
    ],
)
def test_a_file_that_is_no_image_is_refused(file: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        decode(file)


def test_animated_gif_is_refused_with_the_accepted_formats() -> None:
    frames = [Image.new("P", (8, 8), colour) for colour in range(3)]
    gif = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidInput, match="is a GIF file; send a JPEG, PNG, WebP or BMP file"):
        decode(gif)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 2}], ids=str
)
@pytest.mark.parametrize("size", [(600, 400), (2400, 1600)], ids=str)  # in full; scaled down
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_truncated_jpeg_is_refused(
    kept: float, size: tuple[int, int], options: dict[str, Any]
) -> None:
    jpeg = encode(photo().resize(size), **options)
    with pytest.raises(InvalidInput, match=r"cut off|damaged"):
        decode(jpeg[: int(len(jpeg) * kept)])


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.9, 0.9999])
def test_truncated_files_of_other_formats_are_refused(kept: float, image_format: str) -> None:
    file = encode(photo(), image_format)
    with pytest.raises(InvalidInput, match="cut off in its pixels; send the whole file"):
        decode(file[: int(len(file) * kept)])


def test_a_jpeg_with_garbage_after_it_is_read() -> None:
    jpeg = encode(photo())
    assert (decode(jpeg + b"\0garbage" * 1000) == decode(jpeg)).all()


def test_a_jpeg_with_stray_bytes_before_its_end_is_read() -> None:
    jpeg = encode(photo())
    assert (decode(jpeg[:-2] + b"\0\0\0" + jpeg[-2:]) == decode(jpeg)).all()


def test_a_baseline_jpeg_with_odd_scan_parameters_is_read() -> None:
    jpeg = encode(photo())
    spectral_end = jpeg.index(b"\xff\xda") + 4 + 1 + 6 + 1
    assert (decode(patched(jpeg, spectral_end, b"\0")) == decode(jpeg)).all()


def test_a_jpeg_with_a_hole_is_refused() -> None:
    jpeg = encode(photo(), restart_marker_rows=1)
    hole = jpeg[: len(jpeg) // 2] + jpeg[len(jpeg) // 2 + 3000 :]
    with pytest.raises(InvalidInput, match=r"cut off|damaged"):
        decode(hole)


@pytest.mark.parametrize(
    "file",
    [
        png_file(32_768, 32_768, png_chunk(b"IDAT", zlib.compress(b""))),  # 3 GB
        png_file(30_000, 30_000, png_chunk(b"IDAT", zlib.compress(b""))),
        png_file(2**31 - 1, 2**31 - 1, png_chunk(b"IDAT", b"")),
        png_file(16_385, 1, png_chunk(b"IDAT", b"")),
        patched(
            encode(jpeg_image := Image.new("L", (8, 8))),
            jpeg_frame(encode(jpeg_image)) + 5,
            b"\x75\x30\x75\x30",
        ),
    ],
    ids=["1 Gpx PNG", "30,000 px PNG", "largest PNG", "long side", "30,000 px JPEG"],
)
def test_too_many_pixels_are_refused_before_decoding(file: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"the limit for a side is 16,384 px.*scaled down"):
        decode(file)


def test_too_many_bytes_are_refused() -> None:
    limits = ImageLimits(max_image_bytes=1000, max_image_pixels=10**6, max_image_side_px=1000)
    with pytest.raises(InvalidInput, match=r"the limit is 1,000; send a smaller one"):
        decode(encode(photo()), limits=limits)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_an_image_of_no_size_is_refused(image_format: str) -> None:
    if image_format == "PNG":
        file = png_file(0, 5, png_chunk(b"IDAT", b""))
    elif image_format == "JPEG":
        jpeg = encode(Image.new("L", (8, 8)))
        file = patched(jpeg, jpeg_frame(jpeg) + 5, b"\0\0")
    else:
        webp = encode(Image.new("RGB", (8, 8)), "WEBP")
        file = patched(webp, 26, b"\0\0")
    with pytest.raises(InvalidInput, match="send one of at least 1 x 1"):
        decode(file)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs_in_text_profile_and_surplus_pixels_are_never_inflated() -> None:
    bomb = zlib.compress(bytes(300 << 20), 9)  # 300 MB in 300 kB
    line = b"\0\1\2\3"
    surplus = zlib.compress(line + bytes(300 << 20), 9)
    file = png_file(
        1,
        1,
        png_chunk(b"zTXt", b"k\0\0" + bomb),
        png_chunk(b"iTXt", b"k\0\1\0\0\0" + bomb),
        png_chunk(b"iCCP", b"k\0\0" + bomb),
        png_chunk(b"IDAT", surplus),
    )
    decode(png_file(1, 1, png_chunk(b"IDAT", zlib.compress(line))))
    before = resident_bytes()
    row = decode(file)
    assert (row == [1, 2, 3]).all()
    assert resident_bytes() - before < 50 << 20


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    jpeg = encode(photo(), progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    with pytest.raises(InvalidInput, match="more than 64 scans; save it as baseline"):
        decode(jpeg[:-2] + jpeg[last:-2] * 100 + jpeg[-2:])


@pytest.mark.parametrize(
    ("at", "patch", "says"),
    [
        (1, b"\xc9", "arithmetically coded"),
        (1, b"\xc3", "lossless"),
        (4, b"\x0c", "12 bits; save it with 8"),
        (9, b"\x02", "2 components"),
    ],
)
def test_exotic_jpegs_are_refused(at: int, patch: bytes, says: str) -> None:
    jpeg = encode(photo())
    with pytest.raises(InvalidInput, match=says):
        decode(patched(jpeg, jpeg_frame(jpeg) + at, patch))


def test_compressed_bmp_is_refused() -> None:
    bmp = encode(photo("camera"), "BMP")
    with pytest.raises(InvalidInput, match="save it as PNG"):
        decode(patched(bmp, 30, b"\x01"))


def test_files_of_a_million_parts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="chunks"):
        decode(png_file(1, 1, png_chunk(b"tEXt", b"") * 100_000))
    with pytest.raises(InvalidInput, match="no image"):
        decode(b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000)


def test_no_pixel_of_an_earlier_image_shows_in_a_damaged_one() -> None:
    white = encode(Image.new("RGB", (500, 375), "white"))
    black = encode(Image.new("RGB", (500, 375), "black"))
    decode(white)
    for cut in range(len(black) - 200, len(black), 7):
        with pytest.raises(InvalidInput):
            decode(black[:cut])
        decode(white)


def test_every_error_is_one_sentence_that_says_what_to_do() -> None:
    for file in (
        b"",
        b"x",
        encode(photo())[:3000],
        encode(photo(), "PNG")[:3000],
        b"BM" + bytes(99),
    ):
        with pytest.raises(InvalidInput) as caught:
            decode(file)
        assert "; " in str(caught.value)
        assert "\n" not in str(caught.value)


# Anything at all

SEEDS = [
    encode(small := photo().resize((90, 60))),
    encode(small, progressive=True),
    encode(small.convert("CMYK")),
    encode(small.convert("L")),
    encode(small, "PNG"),
    encode(small.quantize(16), "PNG"),
    encode(small.convert("RGBA"), "PNG"),
    encode(small, "WEBP"),
    encode(small, "WEBP", lossless=True),
    encode(small, "WEBP", save_all=True, append_images=[small.rotate(90)]),
    encode(small, "BMP"),
    encode(small.quantize(16), "BMP"),
]
FUZZ_LIMITS = ImageLimits(
    max_image_bytes=1 << 20, max_image_pixels=1_000_000, max_image_side_px=10_000
)
FUZZ_NETWORK = ImagePreprocessing(height=32, width=32)


def assert_decodes_or_is_refused(file: bytes) -> None:
    """Any other exception than the refusal fails the test."""
    try:
        row = decode(file, FUZZ_NETWORK, FUZZ_LIMITS)
    except InvalidInput as refusal:
        assert str(refusal)
    else:
        assert row.shape == (32, 32, 3)


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\0\0\0\0WEBP"]),
    st.binary(),
)
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_decode_or_are_refused(start: bytes, rest: bytes) -> None:
    assert_decodes_or_is_refused(start + rest)


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=800, deadline=None)
def test_mutated_images_decode_or_are_refused(seed: bytes, data: st.DataObject) -> None:
    file = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(file) - 1, 700)) | st.integers(0, len(file) - 1))
        file[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del file[data.draw(st.integers(0, len(file))) :]
    assert_decodes_or_is_refused(bytes(file))


def test_many_threads_decode_beside_each_other() -> None:
    files = [encode(photo(name).convert("RGB")) for name in PHOTOS[:4]]
    expected = [decode(file) for file in files]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(decode, files * 20))
    assert all((row == expected[i % 4]).all() for i, row in enumerate(rows))
