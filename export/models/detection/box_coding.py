"""Arithmetic of boxes: overlap, offsets from a reference box, clipping.

A box is ``x1, y1, x2, y2`` in pixels; its width is ``x2 - x1``, without the "+ 1" of early code.
"""

import math

import torch
from torch import Tensor

__all__ = [
    "box_area",
    "box_iou",
    "clip_boxes",
    "decode_boxes",
    "encode_boxes",
    "generalised_iou",
    "paired_iou",
]

DeltaWeights = tuple[float, float, float, float]

UNIT_WEIGHTS: DeltaWeights = (1.0, 1.0, 1.0, 1.0)
MAX_LOG_SCALE = math.log(1000 / 16)
"""Largest growth of a side in `decode_boxes`, as a logarithm (torchvision's bound). Answers of an
untrained head must not overflow."""


def box_area(boxes: Tensor) -> Tensor:
    """Areas ``[...]`` in square px of boxes ``[..., 4]``; 0 for a box turned inside out."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair.

    Args:
        first: ``[N, 4]``.
        second: ``[M, 4]``.

    Returns:
        ``[N, M]``, 0..1; 0 where both boxes have no area.
    """
    return paired_iou(first[:, None], second[None])


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union ``[...]``, 0..1, of boxes ``[..., 4]`` with their partners.

    The two are broadcast against each other.
    """
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    width, height = (bottom_right - top_left).clamp(min=0).unbind(-1)
    intersection = width * height
    union = box_area(first) + box_area(second) - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Overlap of boxes with their partners, negative by their distance where they are apart.

    Rezatofighi et al., "Generalized Intersection over Union" (arXiv 1902.09630).

    Args:
        first: ``[..., 4]``, each with some area.
        second: ``[..., 4]``, each with some area.

    Returns:
        ``[...]``, -1..1: the IoU, minus the share of the smallest box around both that neither box
        covers.
    """
    inner = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(
        first[..., :2], second[..., :2]
    )
    outer = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(
        first[..., :2], second[..., :2]
    )
    intersection, hull = inner.clamp(min=0).prod(-1), outer.prod(-1)
    union = box_area(first) + box_area(second) - intersection
    return intersection / union - (hull - union) / hull


def encode_boxes(boxes: Tensor, references: Tensor, weights: DeltaWeights = UNIT_WEIGHTS) -> Tensor:
    """The regression targets of R-CNN (Girshick et al. 2014, appendix C, equations 6 to 9).

    Args:
        boxes: ``[..., 4]``, the true boxes.
        references: ``[..., 4]``, proposals or anchors; every side over 0.
        weights: factors of the four targets. Fast R-CNN's head uses ``10, 10, 5, 5``, for about
            unit variance; a region proposal network uses ones.

    Returns:
        ``[..., 4]``: the centre's shift in units of the reference's width and height, and the
        logarithms of the changes of width and height.
    """
    reference_centres, reference_sizes = to_centres(references)
    centres, sizes = to_centres(boxes)
    shifts = (centres - reference_centres) / reference_sizes
    scales = torch.log(sizes / reference_sizes)
    return torch.cat([shifts, scales], -1) * shifts.new_tensor(weights)


def decode_boxes(
    deltas: Tensor, references: Tensor, weights: DeltaWeights = UNIT_WEIGHTS
) -> Tensor:
    """Undo `encode_boxes` (appendix C, equations 1 to 4).

    Args:
        deltas: ``[..., 4]``, a network's answer.
        references: ``[..., 4]``; broadcast against ``deltas``.
        weights: those of `encode_boxes`.

    Returns:
        ``[..., 4]`` boxes; no side grows by more than ``exp(MAX_LOG_SCALE)``, 62.5 times.
    """
    centres, sizes = to_centres(references)
    deltas = deltas / deltas.new_tensor(weights)
    centres = centres + deltas[..., :2] * sizes
    sizes = sizes * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SCALE))
    return to_corners(centres, sizes)


def clip_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Cut boxes ``[..., 4]`` at the edges of an image of ``height x width`` px."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(
        [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1
    )


def to_centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres ``[..., 2]`` (x, y) and sizes ``[..., 2]`` (width, height) of boxes ``[..., 4]``."""
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return (top_left + bottom_right) / 2, bottom_right - top_left


def to_corners(centres: Tensor, sizes: Tensor) -> Tensor:
    """Boxes ``[..., 4]`` from centres and sizes, both ``[..., 2]``."""
    return torch.cat([centres - sizes / 2, centres + sizes / 2], -1)
