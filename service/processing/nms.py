"""Which of a detector's candidate boxes a request gets: non-maximum suppression, in numpy.

The graph answers with every candidate; thresholds belong to the request, so this runs for each one.
"""

from enum import Enum, auto
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SOFT_SIGMA = 0.5
"""Of the Gaussian by which soft suppression lowers scores (Bodla et al. 2017, section 4)."""
BLOCK = 256
"""Candidates that are compared with each other at once."""
MAX_CANDIDATES = 4096
"""Only that many of the best pairs of box and class are looked at, so that no threshold makes a
request expensive."""


class Suppression(Enum):
    """How overlapping boxes are thinned out."""

    PER_CLASS = auto()
    """The best box of each overlapping group of one class stays."""
    CLASS_AGNOSTIC = auto()
    """The best box of each overlapping group stays, whatever the classes."""
    SOFT = auto()
    """Overlapping boxes of one class lose score: ``score * exp(-iou**2 / SOFT_SIGMA)``."""


class Detections(NamedTuple):
    """What is left, best score first."""

    boxes: NDArray[np.float32]
    """``[D, 4]``."""
    labels: NDArray[np.intp]
    """``[D]``, columns of the scores."""
    scores: NDArray[np.float32]
    """``[D]``, 0..1."""
    rows: NDArray[np.intp]
    """``[D]``, which of the candidates each is."""


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    suppression: Suppression = Suppression.PER_CLASS,
) -> Detections:
    """Choose among the candidates of one image.

    Boxes without area, and so the unused rows of a graph's output, are never chosen.

    Args:
        boxes: ``[K, 4]``, ``x1, y1, x2, y2``.
        scores: ``[K, num_classes]``, 0..1; a box may be chosen for several classes.
        score_threshold: scores below it are left out; in soft suppression also once lowered.
        iou_threshold: overlap, in 0..1, above which the lower-scoring box goes; soft suppression
            has no use for it.
        max_detections: how many at most, at least 1.
        suppression: how overlapping boxes are thinned out.
    """
    candidates = _candidates(boxes, scores, score_threshold)
    if suppression is Suppression.SOFT:
        return _suppress_softly(candidates, score_threshold, max_detections)
    is_per_class = suppression is Suppression.PER_CLASS
    return _suppress_greedily(candidates, iou_threshold, max_detections, is_per_class=is_per_class)


def _candidates(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], score_threshold: float
) -> Detections:
    """The pairs of box and class that score high enough, best first, equals in their order."""
    rows, labels = np.nonzero(scores >= score_threshold)
    areas = _areas(boxes)
    # Both corners must be in order: two negative sides make a positive area, too.
    is_box = (areas > 0) & np.isfinite(areas) & (boxes[:, 2] > boxes[:, 0])
    rows, labels = rows[is_box[rows]], labels[is_box[rows]]
    chosen = scores[rows, labels]
    order = np.argsort(-chosen, kind="stable")[:MAX_CANDIDATES]
    rows = rows[order]
    return Detections(boxes[rows], labels[order], chosen[order], rows)


def _suppress_greedily(
    candidates: Detections, iou_threshold: float, max_detections: int, *, is_per_class: bool
) -> Detections:
    boxes, labels, scores, rows = candidates

    def suppresses(better: NDArray[np.intp], worse: NDArray[np.intp]) -> NDArray[np.bool_]:
        overlap = pairwise_iou(boxes[better], boxes[worse]) > iou_threshold
        return overlap & (labels[better, None] == labels[worse]) if is_per_class else overlap

    rest = np.arange(len(boxes))
    kept: list[int] = []
    # A block at a time: all pairs at once would cost most where most are never looked at.
    while rest.size and len(kept) < max_detections:
        block, rest = rest[:BLOCK], rest[BLOCK:]
        survivors = block[greedy(suppresses(block, block))][: max_detections - len(kept)]
        kept += survivors.tolist()
        if rest.size:
            rest = rest[~suppresses(survivors, rest).any(axis=0)]
    return Detections(boxes[kept], labels[kept], scores[kept], rows[kept])


def _suppress_softly(
    candidates: Detections, score_threshold: float, max_detections: int
) -> Detections:
    boxes, labels, given_scores, rows = candidates
    scores = given_scores.copy()
    kept: list[int] = []
    kept_scores: list[float] = []
    while len(kept) < min(max_detections, len(boxes)):
        best = int(scores.argmax())
        if scores[best] < score_threshold:
            break
        kept.append(best)
        kept_scores.append(float(scores[best]))
        overlaps = pairwise_iou(boxes[best, None], boxes)[0]
        factors = np.exp(-(overlaps**2) / SOFT_SIGMA)
        scores *= np.where(labels == labels[best], factors, np.float32(1))
        scores[best] = -1  # never again
    return Detections(boxes[kept], labels[kept], np.array(kept_scores, np.float32), rows[kept])


def greedy(suppresses: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which boxes stay, if each one that stays removes all it suppresses.

    Args:
        suppresses: ``[N, N]``, best box first: whether the row's box would remove the column's.

    Returns:
        ``[K]`` indices, in order.
    """
    is_gone = np.zeros(len(suppresses), dtype=bool)
    kept: list[int] = []
    for index, row in enumerate(suppresses):
        if not is_gone[index]:
            kept.append(index)
            is_gone |= row
    return np.array(kept, np.intp)


def pairwise_iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every pair.

    Args:
        first: ``[N, 4]``, each of some area.
        second: ``[M, 4]``, each of some area.

    Returns:
        ``[N, M]``, 0..1.
    """
    x1, y1, x2, y2 = np.ascontiguousarray(first.T)[:, :, None]
    others_x1, others_y1, others_x2, others_y2 = np.ascontiguousarray(second.T)
    width = np.minimum(x2, others_x2) - np.maximum(x1, others_x1)
    height = np.minimum(y2, others_y2) - np.maximum(y1, others_y1)
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    return intersection / (_areas(first)[:, None] + _areas(second) - intersection)


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):  # such areas are no areas to _candidates
        sides = boxes[:, 2:] - boxes[:, :2]
        return np.multiply(sides[:, 0], sides[:, 1], dtype=np.float32)
