import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export.preprocess import preprocess_image, source_box
from service.manifest import ImagePreprocessing

SIDES = st.integers(1, 400)


def square(size_px: int, **fields: object) -> ImagePreprocessing:
    return ImagePreprocessing.model_validate({"height": size_px, "width": size_px, **fields})


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    red = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    green = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    pixels = np.stack([red, green, np.full_like(red, 7)], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    image = gradient(32, 32)
    assert np.array_equal(preprocess_image(image, square(32)), np.asarray(image))


def test_crop_share_is_shorter_side_to_256_then_centre_224() -> None:
    box = source_box(512, 256, square(224, crop_share=0.875))
    assert box == (144.0, 16.0, 368.0, 240.0)  # 224 px in the middle of 512 x 256


def test_stretch_takes_the_whole_image() -> None:
    assert source_box(500, 375, square(32, fit="stretch")) == (0, 0, 500, 375)


@given(SIDES, SIDES, SIDES, SIDES, st.floats(0.01, 1))
def test_box_is_centred_inside_and_of_the_networks_proportions(
    width: int, height: int, out_width: int, out_height: int, crop_share: float
) -> None:
    preprocessing = ImagePreprocessing(height=out_height, width=out_width, crop_share=crop_share)
    left, top, right, bottom = source_box(width, height, preprocessing)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert left + right == pytest.approx(width)
    assert top + bottom == pytest.approx(height)
    assert (right - left) * out_height == pytest.approx((bottom - top) * out_width)


@given(SIDES, SIDES, st.sampled_from(["bilinear", "bicubic"]))
def test_any_size_of_image_gives_the_networks_size(
    width: int, height: int, interpolation: str
) -> None:
    pixels = preprocess_image(gradient(width, height), square(9, interpolation=interpolation))
    assert (pixels.shape, pixels.dtype) == ((9, 9, 3), np.uint8)


def test_exif_orientation_is_honoured() -> None:
    upright = gradient(40, 20)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    preprocessing = ImagePreprocessing(height=20, width=40, crop_share=1.0)
    assert np.array_equal(preprocess_image(file.getvalue(), preprocessing), np.asarray(upright))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    pixels = preprocess_image(gradient(20, 20).convert(mode), square(8))
    assert pixels.shape == (8, 8, 3)


def test_a_16_bit_image_keeps_its_greys() -> None:
    greys = np.full((8, 8), 0x8000, np.uint16)
    assert np.all(preprocess_image(Image.fromarray(greys), square(4)) == 0x80)


def test_a_grey_network_gets_one_channel() -> None:
    assert preprocess_image(gradient(30, 20), square(8, channels=1)).shape == (8, 8, 1)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = preprocess_image(Image.fromarray(stripes), square(8)).astype(int)
    assert np.abs(pixels - 127.5).max() < 10
