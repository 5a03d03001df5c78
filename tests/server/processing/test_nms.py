import time

import cv2
import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from service.processing.nms import (
    MAX_CANDIDATES,
    SOFT_SIGMA,
    Detections,
    Suppression,
    pairwise_iou,
    suppress,
)

Boxes = NDArray[np.float32]


@st.composite
def candidates(draw: st.DrawFn, classes: int = 3) -> tuple[Boxes, NDArray[np.float32]]:
    """Boxes of some area, and scores without ties."""
    count = draw(st.integers(1, 10))
    corners = draw(arrays.arrays(np.float32, (count, 2), elements=st.integers(0, 60)))
    sizes = draw(arrays.arrays(np.float32, (count, 2), elements=st.integers(1, 60)))
    ranks = draw(st.permutations(range(count * classes)))
    scores = (np.array(ranks, np.float32) + 1) / (count * classes + 1)
    boxes: Boxes = np.concatenate([corners, corners + sizes], axis=1)
    return boxes, scores.astype(np.float32).reshape(count, classes)


def run(
    boxes: Boxes, scores: NDArray[np.float32], kind: Suppression = Suppression.PER_CLASS, **how
) -> Detections:
    how = {"score_threshold": 0.3, "iou_threshold": 0.5, "max_detections": 100} | how
    return suppress(boxes, scores, suppression=kind, **how)


@given(candidates(), candidates())
@settings(deadline=None)
def test_overlaps_equal_coco(
    first: tuple[Boxes, NDArray[np.float32]], second: tuple[Boxes, NDArray[np.float32]]
) -> None:
    ours, theirs = (
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
        for boxes, _ in (first, second)
    )
    expected = coco.iou(ours, theirs, [False] * len(theirs))
    np.testing.assert_allclose(pairwise_iou(first[0], second[0]), expected, atol=1e-6)


def triples(found: Detections) -> list[tuple[tuple[float, ...], int, float]]:
    return [
        (tuple(map(float, box)), int(label), float(score))
        for box, label, score, _ in zip(*found, strict=True)
    ]


def iou(first: Boxes, second: Boxes) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    inner = float(np.prod(np.maximum(sides, 0)))
    both = sum(float(np.prod(box[2:] - box[:2])) for box in (first, second))
    return inner / (both - inner)


def straightforward(
    boxes: Boxes, scores: NDArray[np.float32], iou_threshold: float, *, is_per_class: bool
) -> list[tuple[tuple[float, ...], int, float]]:
    """As the definition says it, pair by pair."""
    pairs = [
        (tuple(map(float, box)), label, float(score))
        for box, row in zip(boxes, scores, strict=True)
        for label, score in enumerate(row)
        if score >= np.float32(0.3)
    ]
    kept: list[tuple[tuple[float, ...], int, float]] = []
    for box, label, score in sorted(pairs, key=lambda pair: -pair[2]):
        rivals = [other for other, its, _ in kept if its == label or not is_per_class]
        if all(iou(np.array(box), np.array(other)) <= iou_threshold for other in rivals):
            kept.append((box, label, score))
    return kept


@given(candidates(), st.sampled_from([0.2, 0.5, 0.7]), st.booleans())
@settings(deadline=None)
def test_suppression_follows_its_definition(
    given_candidates: tuple[Boxes, NDArray[np.float32]], iou_threshold: float, is_per_class: bool
) -> None:
    boxes, scores = given_candidates
    kind = Suppression.PER_CLASS if is_per_class else Suppression.CLASS_AGNOSTIC
    found = run(boxes, scores, kind, iou_threshold=iou_threshold)
    np.testing.assert_array_equal(found.boxes, boxes[found.rows])
    np.testing.assert_array_equal(found.scores, scores[found.rows, found.labels])
    assert triples(found) == straightforward(
        boxes, scores, iou_threshold, is_per_class=is_per_class
    )


@given(candidates(classes=1), st.sampled_from([0.25, 0.4, 0.6]))
@settings(deadline=None)
def test_suppression_of_one_class_equals_opencv(
    given_candidates: tuple[Boxes, NDArray[np.float32]], iou_threshold: float
) -> None:
    boxes, scores = given_candidates
    found = run(boxes, scores, iou_threshold=iou_threshold, score_threshold=0.0)
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    # OpenCV keeps a box only below the threshold.
    kept = cv2.dnn.NMSBoxes(
        corner_and_size.tolist(), scores[:, 0].tolist(), 0.0, iou_threshold + 1e-6
    )
    assert np.array_equal(found.boxes, boxes[list(kept)])


@given(candidates(classes=1))
@settings(deadline=None)
def test_soft_suppression_lowers_scores_as_opencv_does(
    given_candidates: tuple[Boxes, NDArray[np.float32]],
) -> None:
    boxes, scores = given_candidates
    # OpenCV wants its boxes as whole pixels here.
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    lowered, order = cv2.dnn.softNMSBoxes(
        corner_and_size.astype(int).tolist(),
        scores[:, 0].tolist(),
        score_threshold=0.05,
        nms_threshold=1.0,
        sigma=SOFT_SIGMA,
        method=cv2.dnn.SoftNMSMethod_SOFTNMS_GAUSSIAN,
    )
    found = run(boxes, scores, Suppression.SOFT, score_threshold=0.05)
    assert np.array_equal(found.boxes, boxes[np.asarray(order).reshape(-1)])
    np.testing.assert_allclose(found.scores, np.asarray(lowered).reshape(-1), rtol=1e-4)


def test_soft_suppression_leaves_other_classes_alone() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 2, np.float32)
    scores = np.array([[0.9, 0.0], [0.0, 0.8]], np.float32)
    found = run(boxes, scores, Suppression.SOFT)
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    same_class = run(boxes, scores[:, ::-1] + scores, Suppression.SOFT)
    assert same_class.scores[same_class.labels == 0].tolist() == pytest.approx([0.9])


def test_one_box_may_be_two_things() -> None:
    boxes, scores = np.array([[0, 0, 9, 9]], np.float32), np.array([[0.6, 0.7, 0.1]], np.float32)
    assert run(boxes, scores).labels.tolist() == [1, 0]
    assert run(boxes, scores, Suppression.CLASS_AGNOSTIC).labels.tolist() == [1]


def test_a_score_at_the_threshold_counts() -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 20, 30, 30]], np.float32)
    scores = np.array([[0.5], [np.nextafter(np.float32(0.5), np.float32(0))]], np.float32)
    assert len(run(boxes, scores, score_threshold=0.5).boxes) == 1


@pytest.mark.parametrize("kind", Suppression)
def test_at_most_the_requested_number_of_best_boxes_is_returned(kind: Suppression) -> None:
    left = np.arange(20, dtype=np.float32) * 10
    boxes = np.stack([left, left, left + 5, left + 5], axis=1)
    scores = np.linspace(0.4, 0.9, 20, dtype=np.float32)[:, None]
    found = run(boxes, scores, kind, max_detections=3)
    assert np.array_equal(found.boxes, boxes[:-4:-1])


@pytest.mark.parametrize("kind", Suppression)
@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 0, 0),
        (5, 5, 5, 9),
        (9, 9, 2, 2),
        (np.nan, 0, 5, 5),
        (0, 0, np.inf, 5),
        (-3e38, -3e38, 3e38, 3e38),
    ],
)
def test_an_invalid_box_is_never_chosen(box: tuple[float, ...], kind: Suppression) -> None:
    boxes = np.array([box, (0, 0, 9, 9)], np.float32)
    found = run(boxes, np.array([[0.9], [0.8]], np.float32), kind, score_threshold=0.0)
    assert found.boxes.tolist() == [[0, 0, 9, 9]]


def test_a_score_that_is_no_number_is_left_out() -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9]], np.float32)
    found = run(boxes, np.array([[np.nan], [0.8]], np.float32))
    assert found.scores.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("kind", Suppression)
def test_no_score_above_the_threshold_gives_no_boxes(kind: Suppression) -> None:
    found = run(np.zeros((4, 4), np.float32), np.zeros((4, 2), np.float32), kind)
    assert [len(column) for column in found] == [0, 0, 0, 0]
    assert found.boxes.shape == (0, 4)


def test_no_threshold_makes_a_request_expensive() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 900, (4000, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + 20], axis=1)
    scores = rng.random((4000, 80), dtype=np.float32)
    started = time.process_time()
    found = run(boxes, scores, score_threshold=0.0, iou_threshold=1.0, max_detections=1000)
    assert len(found.boxes) == 1000
    assert found.scores[-1] > np.sort(scores, axis=None)[-MAX_CANDIDATES]
    assert time.process_time() - started < 2
