"""Selective search: proposals are the same every time, inside the image, and where things are."""

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.artifact.manifest import ArtifactError
from service.artifact.sections import ProposalSearch
from service.processing.nms import pairwise_iou
from service.processing.region_proposals import propose_regions, thin_out

SEARCH = ProposalSearch()


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.coffee()[::4, ::4])


def test_the_same_image_gets_the_same_proposals(photograph: np.ndarray) -> None:
    first = propose_regions(photograph, 64, SEARCH)
    assert np.count_nonzero(first[:, 2]) > 32
    for _ in range(2):
        np.testing.assert_array_equal(propose_regions(photograph, 64, SEARCH), first)


def test_proposals_lie_in_the_image_and_are_of_plausible_shape(photograph: np.ndarray) -> None:
    proposals = propose_regions(photograph, 64, SEARCH)
    proposals = proposals[proposals[:, 2] > 0]
    height, width = photograph.shape[:2]
    sides = proposals[:, 2:] - proposals[:, :2]
    assert (proposals >= 0).all()
    assert (proposals <= [width, height, width, height]).all()
    assert sides.min() >= SEARCH.min_side_px
    assert (sides.max(axis=1) <= SEARCH.max_aspect_ratio * sides.min(axis=1)).all()
    assert (sides.prod(axis=1) <= SEARCH.max_area_share * height * width).all()
    assert (np.diff(sides.prod(axis=1)) <= 0).all()


def test_a_disc_on_an_even_ground_is_proposed() -> None:
    y, x = np.mgrid[:120, :160]
    image = np.full((120, 160, 3), 200, np.uint8)
    image[(y - 60) ** 2 + (x - 50) ** 2 < 20**2] = (90, 40, 120)
    proposals = propose_regions(image, 32, SEARCH)
    used = proposals[proposals[:, 2] > 0]
    disc = np.array([[30, 40, 70, 80]], np.float32)
    assert pairwise_iou(disc, used).max() > 0.85


def test_unused_rows_are_zero() -> None:
    assert not propose_regions(np.full((60, 80, 3), 128, np.uint8), 5, SEARCH).any()


@settings(max_examples=10, deadline=None)
@given(
    image=arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
        elements=st.integers(0, 255),
    ),
    max_proposals=st.integers(1, 9),
)
def test_any_image_has_an_answer(image: np.ndarray, max_proposals: int) -> None:
    proposals = propose_regions(image, max_proposals, SEARCH)
    assert (proposals.shape, proposals.dtype) == ((max_proposals, 4), np.float32)
    assert np.isfinite(proposals).all()


def test_thinning_drops_similar_proposals_before_isolated_ones() -> None:
    alike = [[0, 0, 100, 100], [0, 0, 99, 100], [0, 0, 98, 100]]
    alone = [[200, 200, 212, 212]]
    boxes = np.array([*alike, *alone], np.float32)
    np.testing.assert_array_equal(thin_out(boxes, 2), np.array([alike[0], *alone], np.float32))
    assert len(thin_out(boxes, 9)) == 4


def test_an_opencv_without_selective_search_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("cv2.ximgproc")
    with pytest.raises(ArtifactError, match="opencv-contrib-python-headless"):
        propose_regions(np.zeros((60, 80, 3), np.uint8), 5, SEARCH)
