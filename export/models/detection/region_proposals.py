"""Region proposals of a network: Ren et al., "Faster R-CNN" (arXiv 1506.01497).

R-CNN, SPPNet and Fast R-CNN take proposals of selective search, which needs no network. It is in
`service.processing.region_proposals`, because the server runs it beside the graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.detection.anchors import pyramid_anchors
from export.models.detection.box_coding import (
    box_area,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    paired_iou,
)
from export.models.detection.regions import BACKGROUND, draw, match_regions

__all__ = ["ProposalRules", "RPNHead", "RegionProposalNetwork", "suppression_mask"]

SUPPRESSION_ROUNDS = 6
SUPPRESSED = -1e4
"""The logit of a box that a better one overlaps."""


@dataclass(frozen=True)
class ProposalRules:
    """Limits for proposals and for training; the defaults are torchvision's."""

    looked_at: int = 1000
    """The best anchors per level (one size of anchors on one map) that suppression considers."""
    proposals: int = 1000
    """The proposals of all levels together."""
    iou_threshold: float = 0.7
    """A proposal that overlaps a better one of its level more than this is removed."""
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    drawn: int = 256
    """Anchors per image in the loss, at most half of them objects."""


class RPNHead(nn.Module):
    """Slides over a map (section 3.1) and scores and moves each anchor.

    ``[N, channels, H, W] ->`` logits ``[N, H * W * A]`` and offsets ``[N, H * W * A, 4]``.
    """

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        # Twice wrapped: torchvision's name is conv.0.0.
        self.conv = nn.Sequential(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))
        )
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, anchors * 4, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and offsets of every anchor, in the order of `grid_anchors`."""
        hidden = self.conv(features)
        logits = self.cls_logits(hidden).permute(0, 2, 3, 1).flatten(1)
        offsets = self.bbox_pred(hidden).permute(0, 2, 3, 1)
        return logits.float(), offsets.flatten(1).unflatten(1, (-1, 4)).float()


class RegionProposalNetwork(nn.Module):
    """From feature maps to proposals.

    Args:
        channels: of each map.
        sizes_px: of the anchors of each map, the finest first.
        aspect_ratios: of all of them, height over width.
        rules: the limits.
    """

    def __init__(
        self,
        channels: int,
        sizes_px: Sequence[Sequence[float]],
        aspect_ratios: Sequence[float],
        rules: ProposalRules,
    ) -> None:
        super().__init__()
        self.sizes_px, self.aspect_ratios, self.rules = sizes_px, aspect_ratios, rules
        self.head = RPNHead(channels, len(sizes_px[0]) * len(aspect_ratios))

    def forward(
        self, maps: Sequence[Tensor], image_size: tuple[int, int]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Logits ``[N, A]``, offsets ``[N, A, 4]`` and anchors ``[A, 4]`` of each level.

        A level is one size of anchors on one map. The best anchors are taken per level, so that the
        many near large objects do not crowd out those of small ones.
        """
        answers = [self.head(features) for features in maps]
        sizes = [(features.shape[2], features.shape[3]) for features in maps]
        ratios = [self.aspect_ratios] * len(maps)
        anchors = pyramid_anchors(self.sizes_px, ratios, sizes, image_size)
        # The sizes change fastest among the anchors of a place.
        levels = [
            (logits[:, size::count], offsets[:, size::count], of_map[size::count].to(logits.device))
            for (logits, offsets), of_map, count in zip(
                answers, anchors, map(len, self.sizes_px), strict=True
            )
            for size in range(count)
        ]
        logits, offsets, anchors = map(list, zip(*levels, strict=True))
        return logits, offsets, anchors

    def propose(
        self,
        logits: Sequence[Tensor],
        offsets: Sequence[Tensor],
        anchors: Sequence[Tensor],
        image_size: tuple[int, int],
    ) -> Tensor:
        """The proposals ``[N, R, 4]`` in px, best first; unused rows are zero.

        R is ``rules.proposals``, or the number of considered anchors if that is smaller.
        """
        levels = [
            self._best_of_level(*level, image_size)
            for level in zip(logits, offsets, anchors, strict=True)
        ]
        boxes = torch.cat([boxes for boxes, _ in levels], 1)
        scores = torch.cat([scores for _, scores in levels], 1)
        count = min(self.rules.proposals, scores.shape[1])
        scores, places = scores.topk(count, 1)
        boxes = boxes.gather(1, places[:, :, None].expand(-1, -1, 4))
        return torch.where(scores[:, :, None] > SUPPRESSED, boxes, 0.0)

    def _best_of_level(
        self, logits: Tensor, offsets: Tensor, anchors: Tensor, image_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Boxes ``[N, P, 4]`` and logits ``[N, P]`` of one level, some of them `SUPPRESSED`."""
        looked_at = min(self.rules.looked_at, logits.shape[1])
        logits, places = logits.topk(looked_at, 1)
        offsets = offsets.gather(1, places[:, :, None].expand(-1, -1, 4))
        boxes = clip_boxes(decode_boxes(offsets, anchors[places]), *image_size)
        is_kept = suppression_mask(boxes, self.rules.iou_threshold) & (box_area(boxes) > 0)
        # Logits and not probabilities: many of those are 1 in float32 and have no order.
        return boxes, torch.where(is_kept, logits, SUPPRESSED)

    def loss(
        self,
        logits: Tensor,
        offsets: Tensor,
        anchors: Tensor,
        boxes: Sequence[Tensor],
        generator: torch.Generator,
    ) -> Tensor:
        """Cross-entropy and smooth L1 of a draw of anchors (section 3.1.2).

        Args:
            logits: ``[N, A]``, of all levels.
            offsets: ``[N, A, 4]``.
            anchors: ``[A, 4]``.
            boxes: of each image ``[M, 4]``.
            generator: the only source of randomness, on the CPU.
        """
        rules, total = self.rules, logits.new_zeros(())
        for its_logits, its_offsets, its_boxes in zip(logits, offsets, boxes, strict=True):
            matches = match_regions(
                anchors, its_boxes, rules.positive_iou, rules.negative_iou, has_best=True
            )
            chosen = draw(matches, rules.drawn, 0.5, generator)
            is_thing = (matches[chosen] != BACKGROUND).to(its_logits.dtype)
            total = total + functional.binary_cross_entropy_with_logits(
                its_logits[chosen], is_thing
            )
            things = chosen[is_thing > 0]
            wanted = encode_boxes(its_boxes[matches[things]], anchors[things])
            error = functional.smooth_l1_loss(
                its_offsets[things], wanted, reduction="sum", beta=1 / 9
            )
            total = total + error / len(chosen)
        return total / len(boxes)


def suppression_mask(
    boxes: Tensor, iou_threshold: float, rounds: int = SUPPRESSION_ROUNDS
) -> Tensor:
    """Non-maximum suppression of a batch, without loops over boxes, for use in a graph.

    Each round tests for every box whether a better box that is still there overlaps it (Zheng et
    al., arXiv 2005.03572, "Cluster-NMS"). The rounds approach the greedy answer, and reach it if no
    chain of overlaps is longer than the number of rounds. After an even number of rounds no box is
    missing. For 400 boxes a graph took 4.4 ms on one core. ONNX's NonMaxSuppression took 0.4 ms,
    but its number of rows varies, over all images.

    Args:
        boxes: ``[N, P, 4]``, best first.
        iou_threshold: overlap, in 0..1, above which the worse box is removed.
        rounds: an even number.

    Returns:
        ``[N, P]`` bool: which boxes stay.
    """
    is_better = torch.ones(boxes.shape[1], boxes.shape[1], device=boxes.device).triu(1)
    suppresses = (paired_iou(boxes[:, :, None], boxes[:, None]) > iou_threshold).float() * is_better
    kept = torch.ones_like(boxes[:, None, :, 0])
    for _ in range(rounds):
        kept = (kept @ suppresses < 0.5).float()
    return kept[:, 0] > 0
