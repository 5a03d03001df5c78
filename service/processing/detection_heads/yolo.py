"""Heads of the YOLO family: one row of numbers for each candidate.

Boxes are centre x, centre y, width and height in px of the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.artifact.manifest import Manifest
from service.processing.detection_heads.candidates import (
    Array,
    Candidates,
    Floats,
    corners,
    row_size,
    sigmoid,
)

_YOLOX_STRIDES = (8, 16, 32)


def yolov5(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """YOLOv3, v5, v7: ``[K, 5 + C]``: box, objectness, a score for each class."""
    rows = _rows(outputs[0], 5 + len(manifest.labels))
    return Candidates(corners(rows[:, :4]), rows[:, 5:] * rows[:, 4:5])


def yolov8(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """YOLOv8, v9, v11, v12: ``[4 + C, K]``: box, a score for each class."""
    rows = _rows(outputs[0], 4 + len(manifest.labels))
    return Candidates(corners(rows[:, :4]), rows[:, 4:])


def yolov8_segment(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """``[4 + C + M, K]`` and prototypes ``[M, h, w]``; a mask is a weighted sum of prototypes."""
    prototypes = outputs[1].astype(np.float32)
    classes = len(manifest.labels)
    rows = _rows(outputs[0], 4 + classes + len(prototypes))
    boxes, weights = corners(rows[:, :4]), rows[:, 4 + classes :]
    _, height, width = prototypes.shape
    scale = np.array([width, height] * 2, np.float32) / row_size(manifest)
    masks = _PrototypeMasks(np.multiply(boxes, scale, dtype=np.float32), weights, prototypes)
    return Candidates(boxes, rows[:, 4 : 4 + classes], masks)


@dataclass(frozen=True, slots=True)
class _PrototypeMasks:
    """The sigmoid of the weighted sum of prototypes, inside the box."""

    boxes: Floats  # [K, 4], px of the prototypes
    weights: Floats  # [K, M]
    prototypes: Floats  # [M, h, w]

    def __getitem__(self, index: int) -> Floats:
        mask = sigmoid(np.tensordot(self.weights[index], self.prototypes, axes=1))
        x1, y1, x2, y2 = self.boxes[index]
        x = np.arange(mask.shape[1], dtype=np.float32) + 0.5
        y = np.arange(mask.shape[0], dtype=np.float32)[:, None] + 0.5
        is_inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
        return (mask * is_inside).astype(np.float32)


def yolov8_pose(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """``[4 + C + 3 P, K]``: box, scores, and x, y, visibility of each of P points."""
    assert manifest.detection is not None
    classes, points = len(manifest.labels), len(manifest.detection.keypoints)
    rows = _rows(outputs[0], 4 + classes + 3 * points)
    keypoints = rows[:, 4 + classes :].reshape(-1, points, 3)
    return Candidates(corners(rows[:, :4]), rows[:, 4 : 4 + classes], None, keypoints)


def yolox(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """YOLOX: as `yolov5`, with boxes relative to the cells of grids of 8, 16 and 32 px."""
    rows = _rows(outputs[0], 5 + len(manifest.labels))
    preprocessing = manifest.preprocessing
    assert preprocessing is not None
    corner: list[Array] = []
    strides: list[Array] = []
    for stride in _YOLOX_STRIDES:
        height, width = preprocessing.height // stride, preprocessing.width // stride
        y, x = np.mgrid[:height, :width]
        corner.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((height * width, 1), stride))
    cells, stride_px = np.concatenate(corner), np.concatenate(strides)
    boxes = np.concatenate(
        [(rows[:, :2] + cells) * stride_px, np.exp(rows[:, 2:4]) * stride_px], axis=1
    )
    return Candidates(corners(boxes), rows[:, 5:] * rows[:, 4:5])


def _rows(output: Array, numbers: int) -> Floats:
    """``[K, numbers]``, whether the graph returns rows or columns."""
    return (output if output.shape[1] == numbers else output.T).astype(np.float32)
