"""What YOLO with anchors learns: which cell and anchor answers for a box, and the loss.

Redmon and Farhadi, "YOLOv3" (arXiv 1804.02767, section 2.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from export.models.detection.box_coding import box_iou, generalised_iou, to_centres, to_corners
from export.models.detection.yolo import GridDetector, decode_grid

__all__ = ["Assignment", "assign", "yolo_loss"]

IGNORE_IOU = 0.5
"""A candidate that overlaps a true box more than that, without answering for it, is not wrong."""
BOX_FACTOR = 5.0


@dataclass(frozen=True)
class Assignment:
    """The true boxes that one grid answers for, P of them."""

    images: Tensor
    """``[P]``, places in the batch."""
    rows: Tensor
    columns: Tensor
    anchors: Tensor
    """``[P]``, which of the grid's anchors."""
    boxes: Tensor
    """``[P, 4]``, in px."""
    targets: Tensor
    """``[P]``, classes."""

    def of(self, grid: Tensor) -> Tensor:
        """What a grid ``[N, rows, columns, A, ...]`` says in the assigned places, ``[P, ...]``."""
        return grid[self.images, self.rows, self.columns, self.anchors]


def assign(
    detector: GridDetector, shapes: Sequence[tuple[int, int]], boxes: Tensor, targets: Tensor
) -> list[Assignment]:
    """Give each true box to one anchor in the cell of its centre.

    Over all grids, the anchor whose shape overlaps the box's most, when both share a centre.

    Args:
        detector: has the anchors.
        shapes: rows and columns of each grid.
        boxes: ``[N, M, 4]`` in px.
        targets: ``[N, M]``, classes; -1 marks unused rows.

    Returns:
        For each grid, what it answers for.
    """
    images, places = (targets >= 0).nonzero(as_tuple=True)
    boxes, targets = boxes[images, places], targets[images, places]
    centres, sizes = to_centres(boxes)
    anchors = boxes.new_tensor([anchor for level in detector.anchors for anchor in level])
    overlap = box_iou(
        to_corners(torch.zeros_like(sizes), sizes), to_corners(torch.zeros_like(anchors), anchors)
    )
    best = overlap.argmax(1)
    assignments: list[Assignment] = []
    first = 0
    for level, (rows, columns) in enumerate(shapes):
        count, stride_px = len(detector.anchors[level]), detector.strides_px[level]
        mine = (best >= first) & (best < first + count)
        cells = (centres[mine] / stride_px).long()
        assignments.append(
            Assignment(
                images=images[mine],
                rows=cells[:, 1].clamp(0, rows - 1),
                columns=cells[:, 0].clamp(0, columns - 1),
                anchors=best[mine] - first,
                boxes=boxes[mine],
                targets=targets[mine],
            )
        )
        first += count
    return assignments


def yolo_loss(
    detector: GridDetector, grids: Sequence[Tensor], boxes: Tensor, targets: Tensor
) -> Tensor:
    """The loss of a batch, for each true box.

    Objectness and classes by binary cross-entropy, as in v3. Boxes by their overlap instead of the
    squared error of ``tx, ty, tw, th``: it is what the score measures, and treats large and small
    boxes alike (Rezatofighi et al., arXiv 1902.09630).

    Args:
        detector: has the anchors.
        grids: its answer.
        boxes: ``[N, M, 4]``, ``x1, y1, x2, y2`` in px of the input.
        targets: ``[N, M]``, classes; -1 marks unused rows.

    Returns:
        A scalar.
    """
    grids = [grid.float() for grid in grids]
    shapes = [(grid.shape[1], grid.shape[2]) for grid in grids]
    total = boxes.new_zeros(())
    assignments = assign(detector, shapes, boxes, targets)
    levels = zip(grids, detector.anchors, detector.strides_px, assignments, strict=True)
    for grid, anchors, stride_px, assignment in levels:
        decoded = decode_grid(grid, anchors, stride_px)
        total = total + objectness_loss(grid, decoded.detach(), assignment, boxes, targets)
        if len(assignment.boxes):
            overlap = generalised_iou(assignment.of(decoded), assignment.boxes)
            total = total + BOX_FACTOR * (1 - overlap).sum()
            total = total + class_loss(assignment.of(grid)[:, 5:], assignment.targets)
    return total / (targets >= 0).sum().clamp(min=1)


def objectness_loss(
    grid: Tensor, decoded: Tensor, assignment: Assignment, boxes: Tensor, targets: Tensor
) -> Tensor:
    """Sum over a grid's candidates of the cross-entropy of "here is a thing's centre"."""
    truth = torch.zeros_like(grid[..., 4])
    overlap = best_overlap(decoded.flatten(1, 3), boxes, targets).view_as(truth)
    weight = (overlap <= IGNORE_IOU).to(truth.dtype)
    where = (assignment.images, assignment.rows, assignment.columns, assignment.anchors)
    truth[where] = 1.0
    weight[where] = 1.0
    return functional.binary_cross_entropy_with_logits(
        grid[..., 4], truth, weight=weight, reduction="sum"
    )


def best_overlap(candidates: Tensor, boxes: Tensor, targets: Tensor) -> Tensor:
    """Each candidate's largest overlap ``[N, K]`` with a true box of its image.

    Args:
        candidates: ``[N, K, 4]``.
        boxes: ``[N, M, 4]``.
        targets: ``[N, M]``; -1 marks unused rows.
    """
    best = [
        box_iou(of_image, true[target >= 0]).amax(1)
        if (target >= 0).any()
        else of_image.new_zeros(len(of_image))
        for of_image, true, target in zip(candidates, boxes, targets, strict=True)
    ]
    return torch.stack(best)


def class_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the independent cross-entropies of logits ``[P, num_classes]`` (section 2.2)."""
    truth = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
