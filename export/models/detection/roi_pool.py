"""From regions of a feature map to features of one length.

RoI max pooling (Girshick, "Fast R-CNN", arXiv 1504.08083, section 2.1), spatial pyramid pooling (He
et al., arXiv 1406.4729) and RoIAlign (He et al., "Mask R-CNN", arXiv 1703.06870, section 3).

The first and the last one are ONNX operators, which the exported graph uses. For 300 regions of a
64x30x40 map on one core RoIAlign took 21 ms; `grid_sample` took 150 ms. Training uses plain
PyTorch, which gives the same numbers and has gradients.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from export.opset import OPSET_VERSION

__all__ = ["roi_align", "roi_max_pool", "spatial_pyramid_pool"]

SAMPLES = 2
"""Sample points of RoIAlign in each direction of each cell, as in torchvision's detectors."""


def roi_max_pool(features: Tensor, boxes: Tensor, size: int, stride_px: int) -> Tensor:
    """The largest value in each of ``size x size`` cells of each region.

    Edges are rounded to places of the map, both ends belong to the region, and neighbouring cells
    share a place where the sizes do not divide.

    Args:
        features: ``[N, C, H, W]``.
        boxes: ``[N, R, 4]``, ``x1, y1, x2, y2`` in px of the image, inside it.
        size: cells in each direction.
        stride_px: px of the image for one place of the map.

    Returns:
        ``[N, R, C, size, size]``.
    """
    height, width = features.shape[2:]
    last = torch.tensor([width - 1, height - 1] * 2, device=boxes.device) * stride_px
    boxes = torch.minimum(boxes, last.to(boxes.dtype))  # the operator ends at the edge of the map
    if torch.onnx.is_in_onnx_export():
        return _roi_max_pool_operator(features, boxes, size, stride_px)
    edges = torch.floor(boxes / stride_px + 0.5).long()  # halves are rounded up, as in the operator
    corners = torch.cat([edges[..., :2], torch.maximum(edges[..., :2], edges[..., 2:])], -1)
    pooled = [
        functional.adaptive_max_pool2d(of_image[:, top : bottom + 1, left : right + 1], size)
        for of_image, its_corners in zip(features, corners.tolist(), strict=True)
        for left, top, right, bottom in its_corners
    ]
    return torch.stack(pooled).unflatten(0, boxes.shape[:2])


def _roi_max_pool_operator(features: Tensor, boxes: Tensor, size: int, stride_px: int) -> Tensor:
    """ONNX's MaxRoiPool."""
    places = _places_in_batch(boxes).to(boxes.dtype)
    rows = torch.cat([places[:, None], boxes.flatten(0, 1)], 1)
    pooled = torch.onnx.ops.symbolic(
        "MaxRoiPool",
        (features, rows),
        {"pooled_shape": [size, size], "spatial_scale": 1 / stride_px},
        dtype=features.dtype,
        shape=(rows.shape[0], features.shape[1], size, size),
        version=OPSET_VERSION,
    )
    return pooled.reshape(boxes.shape[0], boxes.shape[1], features.shape[1], size, size)


def spatial_pyramid_pool(
    features: Tensor, boxes: Tensor, sizes: Sequence[int], stride_px: int
) -> Tensor:
    """The largest values of a pyramid of grids over each region, in one row (SPPNet).

    Args:
        features: ``[N, C, H, W]``.
        boxes: ``[N, R, 4]``, in px of the image, inside it.
        sizes: cells in each direction of each level, such as ``(6, 3, 2, 1)``.
        stride_px: px of the image for one place of the map.

    Returns:
        ``[N, R, C * sum(size ** 2)]``, level by level, whatever the regions' sizes.
    """
    levels = [roi_max_pool(features, boxes, size, stride_px).flatten(2) for size in sizes]
    return torch.cat(levels, 2)


def roi_align(
    features: Tensor, boxes: Tensor, size: int, stride_px: int, is_shifted: bool = False
) -> Tensor:
    """The mean of ``SAMPLES x SAMPLES`` points, interpolated bilinearly, in each cell of a region.

    Nothing is rounded, so a small shift of a box is a small change of its features.

    Args:
        features: ``[N, C, H, W]``.
        boxes: ``[N, R, 4]``, ``x1, y1, x2, y2`` in px of the image, inside it.
        size: cells in each direction.
        stride_px: px of the image for one place of the map.
        is_shifted: whether a place's value lies in its middle (right for pixels; ``aligned`` in
            torchvision) instead of on its corner, as torchvision's detectors were trained.

    Returns:
        ``[N, R, C, size, size]``.
    """
    if torch.onnx.is_in_onnx_export():
        return _roi_align_operator(features, boxes, size, stride_px, is_shifted)
    batch, regions = boxes.shape[:2]
    height, width = features.shape[2:]
    places = boxes.float() / stride_px - (0.5 if is_shifted else 0.0)
    start, sides = places[..., :2], places[..., 2:] - places[..., :2]
    if not is_shifted:
        sides = sides.clamp(min=1.0)
    points = (torch.arange(size * SAMPLES, device=boxes.device) + 0.5) / (size * SAMPLES)
    x, y = (start[..., None] + sides[..., None] * points).unbind(2)
    # A region smaller than a place was widened, maybe beyond the map, where features are zero.
    is_inside = (y <= height)[..., :, None] & (x <= width)[..., None, :]
    # grid_sample counts from -1, the first place, to 1, the last one.
    x, y = x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1
    shape = (batch, regions, size * SAMPLES, size * SAMPLES)
    grid = torch.stack([x[:, :, None, :].expand(shape), y[:, :, :, None].expand(shape)], -1)
    sampled = functional.grid_sample(
        features.float(), grid.flatten(1, 2), padding_mode="border", align_corners=True
    )
    sampled = sampled * is_inside.flatten(1, 2)[:, None]
    cells = functional.avg_pool2d(sampled, SAMPLES)  # [N, C, R * size, size]
    return cells.unflatten(2, (regions, size)).transpose(1, 2)


def _roi_align_operator(
    features: Tensor, boxes: Tensor, size: int, stride_px: int, is_shifted: bool
) -> Tensor:
    """ONNX's RoiAlign."""
    rows = boxes.flatten(0, 1)
    attributes = {
        "output_height": size,
        "output_width": size,
        "sampling_ratio": SAMPLES,
        "spatial_scale": 1 / stride_px,
        "coordinate_transformation_mode": "half_pixel" if is_shifted else "output_half_pixel",
    }
    pooled = torch.onnx.ops.symbolic(
        "RoiAlign",
        (features, rows, _places_in_batch(boxes)),
        attributes,
        dtype=features.dtype,
        shape=(rows.shape[0], features.shape[1], size, size),
        version=OPSET_VERSION,
    )
    return pooled.reshape(boxes.shape[0], boxes.shape[1], features.shape[1], size, size)


def _places_in_batch(boxes: Tensor) -> Tensor:
    """The index of the image of each region of ``[N, R, 4]``: ``[N * R]`` int64."""
    places = torch.arange(boxes.shape[0], device=boxes.device)
    return places[:, None].expand(boxes.shape[:2]).flatten()
