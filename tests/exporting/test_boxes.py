import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor

from export.models.detection.anchors import (
    anchor_shapes,
    cell_corners,
    cluster_sizes,
    grid_anchors,
    pyramid_anchors,
)
from export.models.detection.box_coding import (
    MAX_LOG_SCALE,
    DeltaWeights,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    generalised_iou,
)
from export.models.detection.nms import non_max_suppression, non_max_suppression_by_group

SQUARE = torch.tensor([[0.0, 0.0, 10.0, 10.0]])


@st.composite
def boxes(draw: st.DrawFn, most: int = 12) -> NDArray[np.float32]:
    """Up to ``most`` boxes ``[N, 4]`` of some area."""
    count = draw(st.integers(1, most))
    corners = draw(arrays.arrays(np.float32, (count, 2), elements=st.integers(0, 100)))
    sizes = draw(arrays.arrays(np.float32, (count, 2), elements=st.integers(1, 60)))
    return np.concatenate([corners, corners + sizes], axis=1)


def ranked(count: int, draw: st.DataObject) -> NDArray[np.float32]:
    """Scores without ties."""
    ranks = np.array(draw.draw(st.permutations(range(count))))
    return ((ranks + 1) / (count + 1)).astype(np.float32)


# Overlap


def test_overlap_is_intersection_over_union() -> None:
    others = torch.tensor([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4.0]])
    assert box_iou(SQUARE, others).tolist() == [pytest.approx([1, 1 / 3, 0, 0.04])]


def test_boxes_without_area_overlap_with_nothing() -> None:
    point = torch.zeros(1, 4)
    assert box_iou(point, torch.cat([point, SQUARE])).tolist() == [[0, 0]]


@given(boxes(), boxes())
@settings(deadline=None)
def test_overlap_is_symmetric_and_one_only_for_equals(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> None:
    overlap = box_iou(torch.from_numpy(first), torch.from_numpy(second))
    assert torch.allclose(overlap, box_iou(torch.from_numpy(second), torch.from_numpy(first)).T)
    is_equal = (first[:, None] == second[None]).all(axis=2)
    assert np.array_equal(overlap.numpy() > 0.9999, is_equal)


def test_generalised_overlap_falls_with_the_distance() -> None:
    others = torch.tensor([[0, 0, 10, 10], [10, 0, 20, 10], [90, 0, 100, 10.0]])
    values = generalised_iou(SQUARE.expand(3, 4), others)
    assert values.tolist() == pytest.approx([1, 0, -0.8])


# Coding


@given(boxes(), st.data(), st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5)]))
@settings(deadline=None)
def test_decoding_undoes_encoding(
    given_boxes: NDArray[np.float32], data: st.DataObject, weights: DeltaWeights
) -> None:
    true = torch.from_numpy(given_boxes)
    references = torch.from_numpy(data.draw(boxes()))[:1].expand_as(true)
    deltas = encode_boxes(true, references, weights)
    torch.testing.assert_close(
        decode_boxes(deltas, references, weights), true, rtol=1e-4, atol=1e-2
    )


def test_encoding_equals_that_of_the_paper() -> None:
    box = torch.tensor([[5.0, 0.0, 25.0, 5.0]])  # centre 15, 2.5; 20 x 5
    expected = [1.0, -0.25, np.log(2), np.log(0.5)]
    assert encode_boxes(box, SQUARE)[0].tolist() == pytest.approx(expected)


def test_no_delta_makes_a_box_infinite() -> None:
    decoded = decode_boxes(torch.tensor([[0.0, 0.0, 1e9, -1e9]]), SQUARE)
    width = decoded[0, 2] - decoded[0, 0]
    assert float(width) == pytest.approx(10 * np.exp(MAX_LOG_SCALE))


def test_class_specific_deltas_share_their_references() -> None:
    deltas = torch.zeros(5, 3, 4)
    references = torch.arange(20.0).reshape(5, 1, 4).cumsum(2)
    assert torch.allclose(decode_boxes(deltas, references), references.expand(5, 3, 4))


def test_boxes_are_cut_at_the_edges_of_the_image() -> None:
    clipped = clip_boxes(torch.tensor([[-5.0, 3.0, 70.0, 90.0]]), height=40, width=60)
    assert clipped.tolist() == [[0, 3, 60, 40]]


# Anchors


def test_anchor_shapes_equal_those_of_torchvision() -> None:
    # torchvision's AnchorGenerator.generate_anchors((32,), (0.5, 1.0, 2.0)).
    expected = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert anchor_shapes([32], [0.5, 1.0, 2.0]).tolist() == expected


def test_of_several_sizes_all_come_for_each_ratio() -> None:
    shapes = anchor_shapes([8, 16], [1.0, 4.0])
    sizes = (shapes[:, 2:] - shapes[:, :2]).tolist()
    assert sizes == [[8, 8], [16, 16], [4, 16], [8, 32]]


def test_anchors_are_laid_out_row_by_row() -> None:
    anchors = grid_anchors(anchor_shapes([2], [1.0]), rows=2, columns=3, strides_px=(10, 20))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres.tolist() == [[0, 0], [20, 0], [40, 0], [0, 10], [20, 10], [40, 10]]


def test_a_pyramid_has_anchors_on_every_level() -> None:
    levels = pyramid_anchors([[32], [64]], [[0.5, 1, 2]] * 2, [(8, 6), (4, 3)], (64, 48))
    assert [len(level) for level in levels] == [8 * 6 * 3, 4 * 3 * 3]
    centres = (levels[1][:, :2] + levels[1][:, 2:]) / 2
    assert centres[3:6].tolist() == [[16, 0]] * 3  # 64 px in 4 rows: a stride of 16


def test_cells_begin_at_multiples_of_the_stride() -> None:
    corners = cell_corners(rows=2, columns=3, stride_px=8)
    assert corners.shape == (2, 3, 2)
    assert corners[1, 2].tolist() == [16, 8]


def test_clusters_are_the_sizes_that_boxes_have() -> None:
    small, large = torch.tensor([[10.0, 12.0]]), torch.tensor([[90.0, 60.0]])
    noise = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    sizes = torch.cat([small + noise, large + noise])
    clusters = cluster_sizes(sizes, 2, torch.Generator().manual_seed(1))
    torch.testing.assert_close(clusters, torch.cat([small, large]) + 0.5, atol=0.2, rtol=0)


def test_more_clusters_than_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="1 different sizes cannot make 2 clusters"):
        cluster_sizes(torch.ones(9, 2), 2, torch.Generator())


# Suppression


def straightforward(given_boxes: Tensor, scores: Tensor, iou_threshold: float) -> list[int]:
    """As the definition says it, box by box."""
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        overlaps = [box_iou(given_boxes[[index]], given_boxes[[other]]) for other in kept]
        if all(bool(overlap <= iou_threshold) for overlap in overlaps):
            kept.append(index)
    return kept


@given(boxes(), st.data(), st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0]))
@settings(deadline=None)
def test_suppression_equals_its_definition_and_opencv(
    given_boxes: NDArray[np.float32], data: st.DataObject, iou_threshold: float
) -> None:
    scores = ranked(len(given_boxes), data)
    kept = non_max_suppression(
        torch.from_numpy(given_boxes), torch.from_numpy(scores), iou_threshold
    ).tolist()
    assert kept == straightforward(
        torch.from_numpy(given_boxes), torch.from_numpy(scores), iou_threshold
    )
    corner_and_size = np.concatenate(
        [given_boxes[:, :2], given_boxes[:, 2:] - given_boxes[:, :2]], axis=1
    )
    if 0 < iou_threshold < 1:  # at the ends OpenCV counts equal overlaps otherwise
        theirs = cv2.dnn.NMSBoxes(
            corner_and_size.tolist(), scores.tolist(), 0.0, iou_threshold + 1e-6
        )
        assert kept == list(theirs)


def test_among_equals_the_first_box_stays() -> None:
    assert non_max_suppression(SQUARE.repeat(3, 1), torch.ones(3), 0.5).tolist() == [0]


def test_nothing_is_kept_of_nothing() -> None:
    assert non_max_suppression(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


@given(boxes(), st.data())
@settings(deadline=None)
def test_groups_are_thinned_out_apart(
    given_boxes: NDArray[np.float32], data: st.DataObject
) -> None:
    scores = torch.from_numpy(ranked(len(given_boxes), data))
    everything = torch.from_numpy(given_boxes)
    groups = torch.tensor(
        data.draw(st.lists(st.integers(0, 2), min_size=len(scores), max_size=len(scores)))
    )
    kept = non_max_suppression_by_group(everything, scores, groups, 0.4).tolist()
    apart = [
        int(places[index])
        for group in range(3)
        for places in [(groups == group).nonzero()[:, 0]]
        for index in straightforward(everything[places], scores[places], 0.4)
    ]
    assert sorted(kept) == sorted(apart)
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
