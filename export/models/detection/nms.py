"""Non-maximum suppression on tensors: for proposals and for training.

The server's own suppression is `service.processing.nms`, without torch.
"""

import torch
from torch import Tensor

from export.models.detection.box_coding import box_iou
from service.processing.nms import greedy

__all__ = ["non_max_suppression", "non_max_suppression_by_group"]


def non_max_suppression(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keep the best-scoring box of every overlapping group (greedy).

    Args:
        boxes: ``[N, 4]``, ``x1, y1, x2, y2``.
        scores: ``[N]``; of equal scores the first box wins.
        iou_threshold: overlap, in 0..1, above which the box of the lower score is removed.

    Returns:
        ``[K]`` int64 indices into ``boxes``, best score first.
    """
    order = scores.argsort(descending=True, stable=True)
    return order[_kept(box_iou(boxes[order], boxes[order]) > iou_threshold)]


def non_max_suppression_by_group(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float
) -> Tensor:
    """As `non_max_suppression`, but only boxes of one group suppress each other.

    Args:
        boxes: ``[N, 4]``.
        scores: ``[N]``.
        groups: ``[N]``, such as the class of each box or its level of the pyramid.
        iou_threshold: overlap, in 0..1.

    Returns:
        ``[K]`` int64 indices into ``boxes``, best score first.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, groups = boxes[order], groups[order]
    overlaps = box_iou(boxes, boxes) > iou_threshold
    return order[_kept(overlaps & (groups[:, None] == groups[None, :]))]


def _kept(suppresses: Tensor) -> Tensor:
    """Indices that survive; ``suppresses[i, j]``: box i, if kept, removes the worse box j."""
    # A loop over numpy's rows costs a tenth of one over torch's.
    return torch.from_numpy(greedy(suppresses.cpu().numpy())).to(suppresses.device)
