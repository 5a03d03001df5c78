"""Non-maximum suppression in numpy: which of a detector's candidate boxes a request gets.

The graph returns every candidate. Thresholds belong to the request, so this runs for each request.
"""

from enum import Enum, auto
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SOFT_SIGMA = 0.5
"""Width of the Gaussian that lowers scores in soft suppression (Bodla et al. 2017, section 4)."""
BLOCK = 256
"""Candidates compared with each other at once."""
MAX_CANDIDATES = 4096
"""Pairs of box and class that are looked at, best first: no threshold makes a request expensive."""


class Suppression(Enum):
    """How overlapping boxes are suppressed."""

    PER_CLASS = auto()
    """The best box of each overlapping group of one class stays."""
    CLASS_AGNOSTIC = auto()
    """The best box of each overlapping group stays, whatever the classes."""
    SOFT = auto()
    """Overlapping boxes of one class lose score: ``score * exp(-iou**2 / SOFT_SIGMA)``."""


class Detections(NamedTuple):
    """The boxes that are kept, best score first."""

    boxes: NDArray[np.float32]
    """``[D, 4]``."""
    labels: NDArray[np.intp]
    """``[D]``, columns of the scores."""
    scores: NDArray[np.float32]
    """``[D]``, 0..1."""
    rows: NDArray[np.intp]
    """``[D]``, the index of each among the candidates."""


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

    Boxes without area are never chosen; unused rows of a graph's output are such boxes.

    Args:
        boxes: ``[K, 4]``, ``x1, y1, x2, y2``.
        scores: ``[K, num_classes]``, 0..1; a box may be chosen for several classes.
        score_threshold: lower scores are left out; in soft suppression, lowered scores, too.
        iou_threshold: overlap, in 0..1, above which the lower-scoring box is removed; soft
            suppression ignores it.
        max_detections: most boxes to keep, at least 1.
        suppression: how overlapping boxes are suppressed.
    """
    candidates = _candidates(boxes, scores, score_threshold)
    if suppression is Suppression.SOFT:
        return _suppress_softly(candidates, score_threshold, max_detections)
    is_per_class = suppression is Suppression.PER_CLASS
    return _suppress_greedily(candidates, iou_threshold, max_detections, is_per_class=is_per_class)


def _candidates(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], score_threshold: float
) -> Detections:
    """Pairs of box and class above the threshold, best first; equal scores keep their order."""
    rows, labels = np.nonzero(scores >= score_threshold)
    areas = _areas(boxes)
    # Both corners must be in order, because two negative sides also make a positive area.
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
    # A block at a time: most pairs are never needed.
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
    """Which boxes stay, when each box that stays removes every box it suppresses.

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
        first: ``[N, 4]`` boxes with an area.
        second: ``[M, 4]`` boxes with an area.

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
    with np.errstate(over="ignore", invalid="ignore"):  # _candidates drops such areas
        sides = boxes[:, 2:] - boxes[:, :2]
        return np.multiply(sides[:, 0], sides[:, 1], dtype=np.float32)
