"""Where an image lies in the network's row, there and back; which bucket it goes to."""

from typing import Literal, get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.artifact.manifest import ImagePreprocessing
from service.processing.placement import choose_bucket, place

Fit = Literal["crop", "stretch", "letterbox", "pad"]
FITS: tuple[Fit, ...] = get_args(Fit)
sides = st.integers(1, 16_384)
rows = st.integers(8, 700)
shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(sides, sides, rows, rows, st.sampled_from(FITS), st.floats(0.1, 1), shares, shares)
def test_boxes_come_back_from_the_row(
    width: int,
    height: int,
    row_width: int,
    row_height: int,
    fit: Fit,
    crop_share: float,
    across: list[float],
    down: list[float],
) -> None:
    preprocessing = ImagePreprocessing(
        height=row_height, width=row_width, fit=fit, crop_share=crop_share
    )
    placement = place(width, height, preprocessing)
    left, top, right, bottom = placement.source
    boxes = np.array(
        [
            [
                left + across[0] * (right - left),
                top + down[0] * (bottom - top),
                left + across[1] * (right - left),
                top + down[1] * (bottom - top),
            ]
        ],
        np.float32,
    )
    there = placement.to_row(boxes)
    inner = np.array(placement.target)
    assert (there[:, :2] >= inner[:2]).all()
    assert (there[:, 2:] <= inner[2:]).all()
    # float32 holds 24 bits of a row's px, which are up to this many px of the image:
    px = max((right - left) / (inner[2] - inner[0]), (bottom - top) / (inner[3] - inner[1]))
    rounding = 4 * 2**-24 * (px * max(row_width, row_height) + max(width, height))
    np.testing.assert_allclose(placement.to_image(there), boxes, atol=rounding)


@given(sides, sides, rows, rows, st.sampled_from(FITS))
def test_boxes_outside_are_clipped_to_the_edges(
    width: int, height: int, row_width: int, row_height: int, fit: Fit
) -> None:
    placement = place(
        width, height, ImagePreprocessing(height=row_height, width=row_width, fit=fit)
    )
    everything = np.array([[-1e6, -1e6, 1e6, 1e6]], np.float32)
    assert placement.to_image(everything).tolist() == [[0, 0, width, height]]
    assert placement.to_row(everything).tolist() == [list(map(float, placement.target))]


@given(sides, sides, rows, rows, st.sampled_from(["letterbox", "pad"]))
def test_proportions_are_kept_and_the_image_is_centred(
    width: int, height: int, row_width: int, row_height: int, fit: Fit
) -> None:
    placement = place(
        width, height, ImagePreprocessing(height=row_height, width=row_width, fit=fit)
    )
    left, top, right, bottom = placement.target
    inner_width, inner_height = right - left, bottom - top
    assert 0 <= left <= right <= row_width
    assert 0 <= top <= bottom <= row_height
    assert abs(left - (row_width - right)) <= 1
    assert abs(top - (row_height - bottom)) <= 1
    scale = min(row_width / width, row_height / height)
    if fit == "pad":
        scale = min(1.0, scale)
        assert inner_width <= width
        assert inner_height <= height
    assert abs(inner_width - width * scale) <= 1
    assert abs(inner_height - height * scale) <= 1


@given(
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.lists(st.tuples(rows, rows), min_size=1, max_size=8, unique=True),
)
def test_an_image_that_fits_a_bucket_goes_unscaled_into_the_smallest_such(
    width: int, height: int, sizes: list[tuple[int, int]]
) -> None:
    buckets = [ImagePreprocessing(height=h, width=w, fit="pad") for h, w in sizes]
    chosen = buckets[choose_bucket(width, height, buckets)]
    holding = [each for each in buckets if each.width >= width and each.height >= height]
    assume(holding)
    left, top, right, bottom = place(width, height, chosen).target
    assert (right - left, bottom - top) == (width, height)
    assert chosen.width * chosen.height == min(each.width * each.height for each in holding)


@pytest.mark.parametrize(
    ("size", "bucket"),
    [((4000, 3000), (640, 480)), ((3000, 4000), (480, 640)), ((1, 1), (320, 240))],
)
def test_the_largest_image_goes_to_the_bucket_that_keeps_most_pixels(
    size: tuple[int, int], bucket: tuple[int, int]
) -> None:
    sizes = [(320, 240), (240, 320), (640, 480), (480, 640)]
    buckets = [ImagePreprocessing(height=h, width=w, fit="pad") for w, h in sizes]
    assert sizes[choose_bucket(*size, buckets)] == bucket
