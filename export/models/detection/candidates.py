"""From a head's answers for regions to a detector's candidate boxes."""

import torch
from torch import Tensor

from export.models.detection.box_coding import (
    UNIT_WEIGHTS,
    DeltaWeights,
    box_area,
    clip_boxes,
    decode_boxes,
)

__all__ = ["to_candidates"]


def to_candidates(
    scores: Tensor,
    offsets: Tensor,
    regions: Tensor,
    image_size: tuple[int, int],
    *,
    weights: DeltaWeights = UNIT_WEIGHTS,
    most: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Give each class its own box for each region.

    Args:
        scores: ``[N, R, num_classes]``, 0..1.
        offsets: ``[N, R, num_classes, 4]``, see `encode_boxes`.
        regions: ``[N, R, 4]``, px of the input; regions without area score 0.
        image_size: height and width in px.
        weights: those of `encode_boxes`.
        most: the number of best candidates to return; None: all.

    Returns:
        Boxes ``[N, K, 4]``, cut at the image's edges, and scores ``[N, K, num_classes]``, 0 except
        for the box's own class; K is the smaller of ``R * num_classes`` and ``most``.
    """
    boxes = decode_boxes(offsets.float(), regions[:, :, None], weights)
    boxes = clip_boxes(boxes, *image_size).flatten(1, 2)
    scores = torch.where(box_area(regions)[:, :, None] > 0, scores.float(), 0.0)
    scores = torch.diag_embed(scores).flatten(1, 2)  # [N, R * num_classes, num_classes]
    if most is None or boxes.shape[1] <= most:
        return boxes, scores
    best = scores.amax(2).topk(most, 1).indices[:, :, None]
    return (
        boxes.gather(1, best.expand(-1, -1, 4)),
        scores.gather(1, best.expand(-1, -1, scores.shape[2])),
    )
