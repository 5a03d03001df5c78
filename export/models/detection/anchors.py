"""Anchors: the reference boxes of a detector at every place of a feature map.

Two kinds: scales times aspect ratios (Ren et al., "Faster R-CNN", arXiv 1506.01497, section 3.1.1),
in torchvision's form so that its checkpoints mean the same boxes, and sizes learned from the
training boxes (Redmon and Farhadi, "YOLO9000", arXiv 1612.08242, "Dimension Clusters").
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from export.models.detection.box_coding import box_iou, to_corners

__all__ = ["anchor_shapes", "cell_corners", "cluster_sizes", "grid_anchors", "pyramid_anchors"]


def anchor_shapes(sizes_px: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    """Anchors around the origin, rounded to whole px as torchvision's are.

    Args:
        sizes_px: square roots of their areas.
        aspect_ratios: height over width.

    Returns:
        ``[A, 4]``, ``A = len(aspect_ratios) * len(sizes_px)``; the sizes change fastest.
    """
    height_factors = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()
    sizes = torch.tensor(sizes_px, dtype=torch.float32)
    widths = (sizes[None, :] / height_factors[:, None]).flatten()
    heights = (sizes[None, :] * height_factors[:, None]).flatten()
    return (torch.stack([-widths, -heights, widths, heights], 1) / 2).round()


def grid_anchors(shapes: Tensor, rows: int, columns: int, strides_px: tuple[int, int]) -> Tensor:
    """Place every shape at every place of a feature map.

    Args:
        shapes: ``[A, 4]``, around the origin.
        rows: of the feature map.
        columns: of the feature map.
        strides_px: px of the image between two rows, and between two columns.

    Returns:
        ``[rows * columns * A, 4]`` in px of the image: row by row, place by place, the shapes
        change fastest. The first place lies on the image's corner, as in torchvision.
    """
    y = torch.arange(rows, dtype=shapes.dtype, device=shapes.device) * strides_px[0]
    x = torch.arange(columns, dtype=shapes.dtype, device=shapes.device) * strides_px[1]
    y, x = torch.meshgrid(y, x, indexing="ij")
    places = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (places + shapes).reshape(-1, 4)


def pyramid_anchors(
    sizes_px: Sequence[Sequence[float]],
    aspect_ratios: Sequence[Sequence[float]],
    feature_sizes: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
) -> list[Tensor]:
    """The anchors of every level of a feature pyramid, equal to torchvision's ``AnchorGenerator``.

    Args:
        sizes_px: for each level.
        aspect_ratios: for each level.
        feature_sizes: rows and columns of each level.
        image_size: height and width of the image, in px.

    Returns:
        For each level ``[rows * columns * A, 4]``, as `grid_anchors` orders them.
    """
    levels = zip(sizes_px, aspect_ratios, feature_sizes, strict=True)
    return [
        grid_anchors(
            anchor_shapes(sizes, ratios),
            rows,
            columns,
            (image_size[0] // rows, image_size[1] // columns),
        )
        for sizes, ratios, (rows, columns) in levels
    ]


def cell_corners(rows: int, columns: int, stride_px: int) -> Tensor:
    """The top left corners of a grid's cells, ``[rows, columns, 2]`` (x, y), in px."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y], -1).float() * stride_px


def cluster_sizes(sizes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Anchor sizes that fit the training boxes: k-means with ``1 - IoU`` as the distance.

    Euclidean distance would give most clusters to the large boxes.

    Args:
        sizes: ``[N, 2]``, widths and heights of the training boxes; at least ``count`` different.
        count: the number of anchors.
        generator: chooses the first boxes.

    Returns:
        ``[count, 2]``, the smallest area first.

    Raises:
        ValueError: there are fewer different sizes than anchors.
    """
    different = sizes.unique(dim=0)
    if len(different) < count:
        raise ValueError(f"{len(different)} different sizes cannot make {count} clusters")
    boxes = to_corners(torch.zeros_like(sizes), sizes)
    order = torch.randperm(len(different), generator=generator)
    centres = different[order[:count]]
    nearest = torch.full((len(sizes),), -1)
    while True:
        overlap = box_iou(boxes, to_corners(torch.zeros_like(centres), centres))
        before, nearest = nearest, overlap.argmax(1)
        if torch.equal(before, nearest):
            return centres[centres.prod(1).argsort()]
        centres = torch.stack(
            [
                sizes[nearest == index].mean(0) if (nearest == index).any() else centre
                for index, centre in enumerate(centres)
            ]
        )
