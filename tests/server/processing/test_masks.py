"""Masks as callers get them, held to COCO's own run lengths, Pillow's reader and OpenCV's fill."""

import io

import cv2
import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from service.processing.masks import (
    Sampling,
    indexed_png,
    outlines,
    palette_of,
    part_run_lengths,
    picture_png,
    run_lengths,
)

Mask = NDArray[np.uint8]


@st.composite
def masks(draw: st.DrawFn, longest: int = 40) -> Mask:
    """Of one colour, of noise, or of patches; from 1 x 1 px on."""
    height, width = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    step = draw(st.sampled_from([1, 3, 50]))
    small = (-(-height // step), -(-width // step))
    elements = st.sampled_from(draw(st.lists(st.integers(0, 255), min_size=1, max_size=4)))
    patches = draw(arrays.arrays(np.uint8, small, elements=elements))
    return np.ascontiguousarray(patches.repeat(step, 0).repeat(step, 1)[:height, :width])


@given(masks())
def test_run_lengths_equal_coco(mask: Mask) -> None:
    strings = run_lengths(mask)
    assert set(strings) == set(np.unique(mask).tolist())
    for index, string in strings.items():
        inside = np.asfortranarray(mask == index).astype(np.uint8)
        assert string == coco.encode(inside)["counts"]
        np.testing.assert_array_equal(
            coco.decode({"size": list(mask.shape), "counts": string}), inside
        )


@given(masks(), *[st.integers(0, 9)] * 4)
def test_run_lengths_of_a_crop_equal_those_of_the_whole_mask(
    mask: Mask, left: int, top: int, right: int, bottom: int
) -> None:
    part = mask == mask[-1, -1]
    whole = np.pad(part, ((top, bottom), (left, right)))
    expected = coco.encode(np.asfortranarray(whole).astype(np.uint8))["counts"]
    assert part_run_lengths(part, left, top, whole.shape) == expected


def test_run_lengths_of_an_empty_mask_equal_coco() -> None:
    nothing = np.zeros((4, 5), bool)
    expected = coco.encode(np.zeros((9, 8), np.uint8, order="F"))["counts"]
    assert part_run_lengths(nothing, 2, 3, (9, 8)) == expected


@pytest.mark.parametrize("size", [(3000, 2000), (1, 5000), (5000, 1)], ids=str)
def test_long_runs_equal_coco(size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 3 :, size[1] // 2 :] = 1
    for index, string in run_lengths(mask).items():
        inside = np.asfortranarray(mask == index).astype(np.uint8)
        assert string == coco.encode(inside)["counts"]


@given(masks(), st.integers(1, 256))
def test_an_indexed_png_is_read_with_its_palette_and_its_pixels(mask: Mask, classes: int) -> None:
    palette = palette_of(classes)
    image = Image.open(io.BytesIO(indexed_png(mask, palette)))
    image.load()
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), mask)
    entries = max(classes, int(mask.max()) + 1)
    assert (image.getpalette() or [])[: 3 * entries] == [
        level for colour in palette for level in colour
    ] + [0] * 3 * (entries - classes)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_an_image_is_read_as_it_was_written(picture: Mask) -> None:
    for each in (picture, np.ascontiguousarray(picture[:, :, 0])):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture_png(each)))), each)


def test_palettes_distinguish_all_classes_and_begin_as_pascal_voc() -> None:
    palette = palette_of(256)
    assert len(set(palette)) == 256
    assert palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert palette[15] == (192, 128, 128)  # PASCAL VOC's person


# Outlines


@given(masks())
def test_filled_outlines_of_a_region_are_the_region(mask: Mask) -> None:
    is_inside = mask == mask[0, 0]
    filled = np.zeros(mask.shape, np.uint8)
    corners = [(each - 0.5).astype(np.int32) for each in outlines(is_inside)]
    # By the even-odd rule; OpenCV's lines themselves belong to what is filled.
    cv2.fillPoly(filled, corners, 1)
    # What is nowhere 2 px wide may have fewer than 3 corners, and so no polygon.
    squares = np.lib.stride_tricks.sliding_window_view(np.pad(is_inside, 1), (2, 2)).all((2, 3))
    is_wide = np.lib.stride_tricks.sliding_window_view(squares, (2, 2)).any((2, 3))
    assert not ((filled == 1) & ~is_inside).any()
    assert not (is_wide & (filled == 0)).any()


def test_outlines_are_sorted_by_size_and_limited_in_number() -> None:
    checks = np.kron(np.indices((80, 80)).sum(axis=0) % 2, np.ones((3, 3)))[: 3 * 80].astype(bool)
    checks[:30, :30] = True
    found = outlines(checks)
    areas = [cv2.contourArea(each) for each in found]
    assert areas == sorted(areas, reverse=True)
    dots = np.zeros((200, 200), bool)
    for row in range(3):
        for column in range(3):
            dots[row::5, column::5] = True
    assert len(outlines(dots)) == 1000


def test_an_empty_mask_has_no_outline() -> None:
    assert outlines(np.zeros((5, 5), bool)) == []
    assert outlines(np.ones((1, 1), bool)) == []


# Sampling


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.tuples(st.floats(0, 0.49), st.floats(0, 0.49), st.floats(0.51, 1), st.floats(0.51, 1)),
)
def test_each_pixel_of_a_mask_shows_the_pixel_of_the_plane_under_its_centre(
    plane: tuple[int, int], size: tuple[int, int], part: tuple[float, float, float, float]
) -> None:
    sampling = Sampling.of(plane, part, size)
    left, top, right, bottom = part
    for row in range(size[0]):
        at = (top + (row + 0.5) / size[0] * (bottom - top)) * plane[0]
        assert sampling.rows[row] - 1e-6 <= at <= sampling.rows[row] + 1 + 1e-6
    for column in range(size[1]):
        at = (left + (column + 0.5) / size[1] * (right - left)) * plane[1]
        assert sampling.columns[column] - 1e-6 <= at <= sampling.columns[column] + 1 + 1e-6


@given(masks(), st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_weights_count_the_pixels_that_are_shown(plane: Mask, size: tuple[int, int]) -> None:
    shape = (plane.shape[0], plane.shape[1])
    sampling = Sampling.of(shape, (0, 0, 1, 1), size)
    shown = sampling.show(plane)
    assert shown.shape == size
    counts = np.bincount(plane.ravel(), sampling.weights(shape).ravel(), minlength=256)
    np.testing.assert_array_equal(counts, np.bincount(shown.ravel(), minlength=256))


@given(masks())
def test_a_mask_of_the_size_of_its_plane_equals_the_plane(plane: Mask) -> None:
    shape = (plane.shape[0], plane.shape[1])
    np.testing.assert_array_equal(Sampling.of(shape, (0, 0, 1, 1), shape).show(plane), plane)
