"""YOLO with anchors, the second and the third version (v2, v3).

Redmon and Farhadi, "YOLO9000" (arXiv 1612.08242) and "YOLOv3" (arXiv 1804.02767). A grid of cells
covers the image. Each cell has a box for each of its anchors, and the probability that the centre
of an object is in the cell. v2 has one grid, v3 several of different fineness. The loss is in
``yolo_loss.py``, the first YOLO in ``yolo_v1.py``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.detection.anchors import cell_corners
from export.models.detection.box_coding import to_corners
from export.models.detection.darknet import ConvNorm, Darknet19, Darknet53

__all__ = ["Anchors", "YoloV2", "YoloV3", "decode_grid"]

Anchors = Sequence[Sequence[tuple[float, float]]]
"""For each grid, the finest first, the widths and heights of its anchors, in px."""

# Clusters of COCO's boxes, by the authors: v2's for 32-px cells, v3's for images of 416 px.
V2_ANCHORS = (((18.3, 21.7), (59.9, 66.0), (106.8, 175.2), (252.3, 112.9), (312.7, 293.4)),)
V3_ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
MAX_LOG_SCALE = 6.0
"""Bound of ``tw`` and ``th``; answers of an untrained network must not overflow."""


class GridDetector(nn.Module):
    """Shared by v2 and v3: from the grids to candidate boxes.

    Args:
        num_classes: the number of classes.
        anchors: of each grid.
        strides_px: side of a cell of each grid.
    """

    def __init__(self, num_classes: int, anchors: Anchors, strides_px: Sequence[int]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.anchors = tuple(tuple((float(w), float(h)) for w, h in level) for level in anchors)
        self.strides_px = tuple(strides_px)

    def to_grid(self, x: Tensor, level: int) -> Tensor:
        """``[N, A * (5 + num_classes), rows, columns] -> [N, rows, columns, A, 5 + num_classes]``.

        The last axis holds ``tx, ty, tw, th``, the logit of objectness, and the classes' logits.
        """
        x = x.permute(0, 2, 3, 1)
        return x.unflatten(3, (len(self.anchors[level]), 5 + self.num_classes))

    def detect(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Every candidate of normalised images ``[N, 3, H, W]``.

        Returns:
            Boxes ``[N, K, 4]``, ``x1, y1, x2, y2`` in px of the input, cut at its edges, and
            scores ``[N, K, num_classes]``, 0..1: objectness times the class's probability.
        """
        height, width = x.shape[2:]
        edges = x.new_tensor([width, height, width, height])
        boxes: list[Tensor] = []
        scores: list[Tensor] = []
        for grid, anchors, stride_px in zip(self(x), self.anchors, self.strides_px, strict=True):
            grid = grid.float()
            found = decode_grid(grid, anchors, stride_px).flatten(1, 3)
            boxes.append(torch.minimum(found.clamp(min=0), edges))
            scores.append(self.score(grid).flatten(1, 3))
        return torch.cat(boxes, 1), torch.cat(scores, 1)

    def score(self, grid: Tensor) -> Tensor:
        """Scores ``[..., num_classes]`` of a grid ``[..., 5 + num_classes]``.

        Classes are independent of each other, as in v3 (section 2.2).
        """
        return grid[..., 4:5].sigmoid() * grid[..., 5:].sigmoid()


def decode_grid(grid: Tensor, anchors: Sequence[tuple[float, float]], stride_px: int) -> Tensor:
    """The boxes of a grid (v2, figure 3; v3, figure 2).

    The centre cannot leave its cell, which makes the early training stable; the size is the
    anchor's times a factor.

    Args:
        grid: ``[N, rows, columns, A, 4 or more]``, ``tx, ty, tw, th`` first.
        anchors: widths and heights of the A anchors, in px.
        stride_px: side of a cell.

    Returns:
        ``[N, rows, columns, A, 4]``, ``x1, y1, x2, y2`` in px.
    """
    corners = cell_corners(grid.shape[1], grid.shape[2], stride_px)[:, :, None].to(grid.device)
    centres = grid[..., :2].sigmoid() * stride_px + corners
    sizes = grid[..., 2:4].clamp(max=MAX_LOG_SCALE).exp() * grid.new_tensor(anchors)
    return to_corners(centres, sizes)


class YoloV2(GridDetector):
    """Darknet-19, a passthrough layer, one grid of 32-px cells (v2, section 2).

    ``[N, 3, H, W] -> ([N, H / 32, W / 32, A, 5 + num_classes],)``, for any multiples of 32.

    Args:
        num_classes: the number of classes.
        width: channels of the first convolution.
        anchors: of the one grid.
    """

    def __init__(
        self, num_classes: int = 80, width: int = 32, anchors: Anchors = V2_ANCHORS
    ) -> None:
        super().__init__(num_classes, anchors, strides_px=(32,))
        channels = 32 * width
        self.backbone = Darknet19(width=width)
        del self.backbone.classifier
        self.conv1 = ConvNorm(channels, channels, 3)
        self.conv2 = ConvNorm(channels, channels, 3)
        self.passthrough = ConvNorm(16 * width, 2 * width, 1)
        self.conv3 = ConvNorm(channels + 4 * 2 * width, channels, 3)
        self.output = nn.Conv2d(channels, len(self.anchors[0]) * (5 + num_classes), 1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The grid of normalised images."""
        fine, coarse = self.backbone.features(x)
        # Fine-grained features: four places of the finer map become channels of one.
        fine = functional.pixel_unshuffle(self.passthrough(fine), 2)
        coarse = self.conv2(self.conv1(coarse))
        return (self.to_grid(self.output(self.conv3(torch.cat([fine, coarse], 1))), level=0),)


class DetectionBlock(nn.Module):
    """Alternating 1x1 and 3x3 convolutions, and the grid's own branch (v3, section 2.3).

    ``[N, in_channels, H, W] -> [N, width, H, W]``, for the next finer grid, and
    ``[N, out_channels, H, W]``.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, depth: int) -> None:
        super().__init__()
        layers = [ConvNorm(in_channels, width, 1)]
        for _ in range(depth):
            layers += [ConvNorm(width, 2 * width, 3), ConvNorm(2 * width, width, 1)]
        self.trunk = nn.Sequential(*layers)
        self.conv = ConvNorm(width, 2 * width, 3)
        self.output = nn.Conv2d(2 * width, out_channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the finer grid builds on, and this grid."""
        x = self.trunk(x)
        return x, self.output(self.conv(x))


class YoloV3(GridDetector):
    """Darknet-53 and a grid on each of its last maps, coarse ones helping fine ones (v3).

    ``[N, 3, H, W] ->`` for each grid, the finest first, ``[N, H / stride, W / stride, A, 5 +
    num_classes]``, for any multiples of the coarsest stride, which is ``2 ** len(depths)``.

    Args:
        num_classes: the number of classes.
        width: channels of the first convolution.
        depths: residual blocks in each stage of the backbone.
        anchors: of each grid; there are as many grids as lists of anchors.
        head_depth: pairs of convolutions in front of each grid.
    """

    def __init__(
        self,
        num_classes: int = 80,
        width: int = 32,
        depths: Sequence[int] = (1, 2, 8, 8, 4),
        anchors: Anchors = V3_ANCHORS,
        head_depth: int = 2,
    ) -> None:
        levels, coarsest_px = len(anchors), 2 ** len(depths)
        strides_px = [coarsest_px >> (levels - 1 - level) for level in range(levels)]
        super().__init__(num_classes, anchors, strides_px)
        self.backbone = Darknet53(num_classes=0, width=width, depths=depths)
        channels = self.backbone.channels[-levels:]
        self.blocks, self.laterals = nn.ModuleList(), nn.ModuleList()
        for level, its_channels in enumerate(channels):
            is_coarsest = level == levels - 1
            out_channels = len(self.anchors[level]) * (5 + num_classes)
            in_channels = its_channels if is_coarsest else its_channels + its_channels // 2
            self.blocks.append(
                DetectionBlock(in_channels, its_channels // 2, out_channels, head_depth)
            )
            if not is_coarsest:  # from the next coarser grid
                self.laterals.append(ConvNorm(its_channels, its_channels // 2, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The grids of normalised images."""
        maps = self.backbone.features(x)[-len(self.blocks) :]
        grids: list[Tensor] = []
        coarser: Tensor | None = None
        for level in reversed(range(len(maps))):
            features = maps[level]
            if coarser is not None:
                lateral = self.laterals[level](coarser)
                larger = functional.interpolate(lateral, scale_factor=2.0, mode="nearest")
                features = torch.cat([larger, features], 1)
            coarser, output = self.blocks[level](features)
            grids.insert(0, self.to_grid(output, level))
        return tuple(grids)
