"""The training targets of regions, by overlap, and the random choice of a few of them.

Girshick, "Fast R-CNN" (arXiv 1504.08083, section 2.3); Ren et al., "Faster R-CNN" (arXiv
1506.01497, section 3.1.2).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from export.models.detection.box_coding import box_area, box_iou

__all__ = ["BACKGROUND", "IGNORED", "RegionTargets", "match_regions", "sample_regions"]

BACKGROUND = -1
"""The region overlaps no true box enough."""
IGNORED = -2
"""The region is neither background nor an object, or the row is unused; no loss."""


THINGS_SHARE = 0.25
"""The largest share of objects among the regions of an image."""


class RegionTargets(NamedTuple):
    """The targets of the regions of one image."""

    regions: Tensor
    """``[S, 4]``."""
    labels: Tensor
    """``[S]``: 0 for background, class + 1 for an object, `IGNORED`."""
    boxes: Tensor
    """``[S, 4]``, the true box; of use where the label is a class."""


def match_regions(
    regions: Tensor, boxes: Tensor, high: float, low: float, has_best: bool = False
) -> Tensor:
    """The true box that each region overlaps most.

    Args:
        regions: ``[R, 4]``; those without area are ignored.
        boxes: ``[M, 4]``.
        high: IoU from which a region is an object.
        low: IoU below which it is background; between both it is ignored.
        has_best: whether the regions that overlap a box most are objects even at a small overlap,
            so that every box has a region (Faster R-CNN's anchors).

    Returns:
        ``[R]`` int64: the index of the box, `BACKGROUND` or `IGNORED`.
    """
    if not len(boxes):
        matches = torch.full((len(regions),), BACKGROUND, device=regions.device)
    else:
        overlaps = box_iou(regions, boxes)
        best, nearest = overlaps.max(1)
        matches = torch.where(best < high, IGNORED, nearest)
        matches[best < low] = BACKGROUND
        if has_best:
            most = overlaps.amax(0)
            is_best = ((overlaps == most) & (most > 0)).any(1)
            matches[is_best] = nearest[is_best]
    matches[box_area(regions) <= 0] = IGNORED
    return matches


def draw(matches: Tensor, count: int, positive_share: float, generator: torch.Generator) -> Tensor:
    """Draw ``count`` regions, of which at most the share ``positive_share`` are objects.

    Args:
        matches: ``[R]``, see `match_regions`.
        count: the number of regions; fewer if there are not enough.
        positive_share: in 0..1; the rest is background.
        generator: the only source of randomness, on the CPU.

    Returns:
        Indices, objects first.
    """
    things = (matches >= 0).nonzero()[:, 0]
    background = (matches == BACKGROUND).nonzero()[:, 0]
    wanted = min(len(things), int(count * positive_share))
    things = things[torch.randperm(len(things), generator=generator)[:wanted].to(things.device)]
    order = torch.randperm(len(background), generator=generator)[: count - wanted]
    return torch.cat([things, background[order.to(background.device)]])


def sample_regions(
    proposals: Tensor,
    boxes: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    count: int = 64,
) -> RegionTargets:
    """Draw the regions of one image from which a detector's head learns.

    Args:
        proposals: ``[R, 4]``; the true boxes are candidates, too.
        boxes: ``[M, 4]``.
        targets: ``[M]``, classes.
        generator: the only source of randomness, on the CPU.
        count: rows of the answer.

    Returns:
        ``count`` regions, at most the share `THINGS_SHARE` of them objects. Missing rows
        are zero, with the label `IGNORED`.
    """
    proposals = torch.cat([boxes, proposals])
    matches = match_regions(proposals, boxes, high=0.5, low=0.5)
    chosen = draw(matches, count, THINGS_SHARE, generator)
    found = matches[chosen]
    regions, true_boxes = proposals.new_zeros(count, 4), proposals.new_zeros(count, 4)
    labels = torch.full((count,), IGNORED, device=proposals.device)
    regions[: len(chosen)] = proposals[chosen]
    labels[: len(chosen)] = 0
    is_thing = (found >= 0).nonzero()[:, 0]
    labels[is_thing] = targets[found[is_thing]] + 1
    true_boxes[is_thing] = boxes[found[is_thing]]
    return RegionTargets(regions, labels, true_boxes)
