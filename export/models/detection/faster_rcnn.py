"""Faster R-CNN: Ren et al. (arXiv 1506.01497).

A region proposal network shares the feature map with a Fast R-CNN head. Regions are pooled by
RoIAlign. With a feature pyramid and torchvision's names, `fasterrcnn_resnet50_fpn` takes its
checkpoints with ``strict=True``.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from export.models.detection.box_coding import box_area
from export.models.detection.fast_rcnn import (
    POOLED,
    BoxPredictor,
    TwoMLPHead,
    head_candidates,
    head_loss,
)
from export.models.detection.feature_pyramid import ResNetPyramid, freeze_batch_norm
from export.models.detection.region_proposals import ProposalRules, RegionProposalNetwork
from export.models.detection.regions import sample_regions
from export.models.detection.roi_pool import roi_align
from export.models.resnet import resnet18, resnet50

__all__ = ["FasterRCNN", "RoIHeads", "faster_rcnn_resnet18", "fasterrcnn_resnet50_fpn"]

DEFAULT_RULES = ProposalRules()
CANONICAL_SIDE_PX, CANONICAL_STRIDE_PX = 224, 16
"""A region of this size is pooled from the map of this stride (Lin et al., arXiv 1612.03144)."""


class RoIHeads(nn.Module):
    """Fast R-CNN's head over a pyramid.

    Args:
        channels: of each map.
        strides_px: of the maps that regions are pooled from.
        num_classes: the number of classes, without the background.
        representation_size: of the dense layers.
    """

    def __init__(
        self, channels: int, strides_px: Sequence[int], num_classes: int, representation_size: int
    ) -> None:
        super().__init__()
        self.strides_px = tuple(strides_px)
        self.box_head = TwoMLPHead(channels * POOLED**2, representation_size)
        self.box_predictor = BoxPredictor(representation_size, num_classes)

    def forward(self, maps: Sequence[Tensor], regions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[N, R, num_classes + 1]`` and offsets ``[N, R, num_classes + 1, 4]``."""
        return self.box_predictor(self.box_head(self.pool(maps, regions)))

    def pool(self, maps: Sequence[Tensor], regions: Tensor) -> Tensor:
        """``[N, R, C, POOLED, POOLED]``, each region from the map that suits its size.

        Every region is pooled from every map and the other results are dropped, because a graph
        cannot sort regions without losing its batch axis.
        """
        pooled = [
            roi_align(features, regions, POOLED, stride_px)
            for features, stride_px in zip(maps, self.strides_px, strict=False)
        ]
        levels = self.levels(regions)[:, :, None, None, None]
        chosen = pooled[0]
        for level, candidate in enumerate(pooled[1:], start=1):
            chosen = torch.where(levels == level, candidate, chosen)
        return chosen

    def levels(self, regions: Tensor) -> Tensor:
        """Which map suits each region ``[N, R, 4]``: ``[N, R]``, 0 is the finest (FPN, eq. 1)."""
        relative = box_area(regions).sqrt() / CANONICAL_SIDE_PX + 1e-6
        finest = math.log2(CANONICAL_STRIDE_PX / self.strides_px[0])
        return (torch.log2(relative) + finest).floor().clamp(0, len(self.strides_px) - 1)


class FasterRCNN(nn.Module):
    """The backbone, the region proposal network, and the head.

    Args:
        backbone: gives maps, the finest first.
        num_classes: the number of classes, without the background.
        anchor_sizes_px: for each map.
        aspect_ratios: of all anchors.
        representation_size: of the head's dense layers.
        rules: of the proposals.
        max_candidates: the number of best boxes to return.
    """

    picks_regions = True

    def __init__(
        self,
        backbone: ResNetPyramid,
        num_classes: int,
        anchor_sizes_px: Sequence[Sequence[float]],
        *,
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        representation_size: int = 1024,
        rules: ProposalRules = DEFAULT_RULES,
        max_candidates: int = 1000,
    ) -> None:
        super().__init__()
        channels = backbone.out_channels
        self.backbone = backbone
        self.rpn = RegionProposalNetwork(channels, anchor_sizes_px, aspect_ratios, rules)
        self.roi_heads = RoIHeads(channels, backbone.strides_px, num_classes, representation_size)
        self.max_candidates = max_candidates

    def detect(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates of normalised images ``[N, 3, H, W]``.

        Returns:
            Boxes ``[N, K, 4]``, ``x1, y1, x2, y2`` in px of the input, and scores
            ``[N, K, num_classes]``, 0 except for the box's own class.
        """
        size = (x.shape[2], x.shape[3])
        maps = self.backbone(x)
        logits, offsets, anchors = self.rpn(maps, size)
        proposals = self.rpn.propose(logits, offsets, anchors, size)
        classes, corrections = self.roi_heads(maps, proposals)
        return head_candidates(classes, corrections, proposals, size, self.max_candidates)

    def loss(self, x: Tensor, boxes: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """The sum of both networks' losses, which are trained jointly (section 3.2).

        Args:
            x: ``[N, 3, H, W]``, normalised.
            boxes: ``[N, M, 4]``, px of the input.
            targets: ``[N, M]``, classes; -1 marks unused rows.
            generator: draws anchors and regions, on the CPU.
        """
        size = (x.shape[2], x.shape[3])
        maps = self.backbone(x)
        logits, offsets, anchors = self.rpn(maps, size)
        true_boxes = [each[target >= 0] for each, target in zip(boxes, targets, strict=True)]
        loss = self.rpn.loss(
            torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat(anchors), true_boxes, generator
        )
        with torch.no_grad():  # no gradient through the proposals (section 3.2)
            proposals = self.rpn.propose(logits, offsets, anchors, size)
        drawn = [
            sample_regions(each, its_boxes, target[target >= 0], generator)
            for each, its_boxes, target in zip(proposals, true_boxes, targets, strict=True)
        ]
        classes, corrections = self.roi_heads(maps, torch.stack([each.regions for each in drawn]))
        return loss + head_loss(classes, corrections, drawn)


def fasterrcnn_resnet50_fpn(num_classes: int = 90, **rules: Any) -> FasterRCNN:
    """The form of torchvision; its 91 classes for COCO are 90 and background.

    Images are normalised by ImageNet's mean and deviation, the shorter side 800 px (the longer at
    most 1333), both multiples of 32.
    """
    body = resnet50()
    freeze_batch_norm(body)
    sizes_px = [(32,), (64,), (128,), (256,), (512,)]
    return FasterRCNN(
        ResNetPyramid(body, out_channels=256), num_classes, sizes_px, rules=ProposalRules(**rules)
    )


def faster_rcnn_resnet18(
    num_classes: int = 20,
    width: int = 64,
    channels: int = 256,
    representation_size: int = 1024,
    anchor_sizes_px: Sequence[float] = (128, 256, 512),
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    **rules: Any,
) -> FasterRCNN:
    """One map, as in the paper, of stride 8, from a ResNet-18 up to its third stage.

    Args:
        num_classes: the number of classes, without the background.
        width: channels of the first stage.
        channels: of the map.
        representation_size: of the head's dense layers.
        anchor_sizes_px: all on the one map.
        aspect_ratios: of each of them.
        rules: fields of `ProposalRules`.
    """
    backbone = ResNetPyramid(
        resnet18(width=width), channels, stages=(2, 3), outputs=1, has_pool=False
    )
    return FasterRCNN(
        backbone,
        num_classes,
        [anchor_sizes_px],
        aspect_ratios=aspect_ratios,
        representation_size=representation_size,
        rules=ProposalRules(**rules),
    )
