import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export.artifact.preprocess import preprocess_image
from service.artifact.manifest import PADDING_LEVEL, ImagePreprocessing
from service.processing.placement import place

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
    box = place(512, 256, square(224, crop_share=0.875)).source
    assert box == (144.0, 16.0, 368.0, 240.0)  # 224 px in the middle of 512 x 256


def test_stretch_takes_the_whole_image() -> None:
    assert place(500, 375, square(32, fit="stretch")).source == (0, 0, 500, 375)


@given(SIDES, SIDES, SIDES, SIDES, st.floats(0.01, 1))
def test_a_crop_is_centred_and_has_the_proportions_of_the_input(
    width: int, height: int, out_width: int, out_height: int, crop_share: float
) -> None:
    preprocessing = ImagePreprocessing(height=out_height, width=out_width, crop_share=crop_share)
    left, top, right, bottom = place(width, height, preprocessing).source
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert left + right == pytest.approx(width)
    assert top + bottom == pytest.approx(height)
    assert (right - left) * out_height == pytest.approx((bottom - top) * out_width)


def test_letterbox_takes_the_whole_image_and_pads_it_to_the_size_of_the_input() -> None:
    preprocessing = square(64, fit="letterbox")
    placement = place(400, 200, preprocessing)
    assert placement.source == (0, 0, 400, 200)
    assert placement.target == (0, 16, 64, 48)
    pixels = preprocess_image(gradient(400, 200), preprocessing)
    assert np.all(pixels[:16] == PADDING_LEVEL)
    assert np.all(pixels[48:] == PADDING_LEVEL)
    alone = preprocess_image(gradient(400, 200), ImagePreprocessing(height=32, width=64))
    assert np.array_equal(pixels[16:48], alone)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["crop", "stretch", "letterbox"]), st.data())
def test_boxes_go_to_the_row_and_back(
    width: int, height: int, out_width: int, out_height: int, fit: str, data: st.DataObject
) -> None:
    preprocessing = square(1, fit=fit).model_copy(update={"height": out_height, "width": out_width})
    placement = place(width, height, preprocessing)
    left, top, right, bottom = placement.source
    shares = sorted(data.draw(st.lists(st.floats(0, 1), min_size=2, max_size=2)))
    x1, x2 = (left + share * (right - left) for share in shares)
    y1, y2 = (top + share * (bottom - top) for share in shares)
    boxes = np.array([[x1, y1, x2, y2]], np.float32)
    row = placement.to_row(boxes)
    inside_left, inside_top, inside_right, inside_bottom = placement.target
    assert np.all(row[:, [0, 2]] >= inside_left)
    assert np.all(row[:, [0, 2]] <= inside_right)
    assert np.all(row[:, [1, 3]] >= inside_top)
    assert np.all(row[:, [1, 3]] <= inside_bottom)
    np.testing.assert_allclose(placement.to_image(row), boxes, rtol=1e-4, atol=1e-2)


def test_a_box_that_leaves_the_row_ends_at_the_edge_of_the_image() -> None:
    placement = place(400, 200, square(64, fit="letterbox"))
    boxes = np.array([[-5, 10, 32, 60]], np.float32)
    assert placement.to_image(boxes).tolist() == [[0, 0, 200, 200]]


@given(SIDES, SIDES, st.sampled_from(["bilinear", "bicubic"]))
def test_any_size_of_image_gives_the_size_of_the_input(
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
