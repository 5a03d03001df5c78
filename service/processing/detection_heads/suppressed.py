"""Heads of graphs that suppress boxes themselves: few boxes, each with one label.

The thresholds of a request still apply to the boxes that are left.
"""

from collections.abc import Sequence

import numpy as np

from service.artifact.manifest import Manifest
from service.processing.detection_heads.candidates import (
    Array,
    Candidates,
    Floats,
    row_size,
    spread,
)


def candidates(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """Our own graphs: ``boxes [K, 4]`` in px and ``scores [K, C]``."""
    del manifest
    boxes, scores = outputs
    return Candidates(boxes, scores)


def end_to_end(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """YOLOv10, v26, and Ultralytics with ``nms=True``: ``[K, 6]``: x1, y1, x2, y2, score, class."""
    (rows,) = outputs
    return Candidates(_floats(rows[:, :4]), spread(rows[:, 5], rows[:, 4], manifest))


def yolov7_end_to_end(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """YOLOv7: ``[K, 7]``: number in the batch, x1, y1, x2, y2, class, score."""
    (rows,) = outputs
    return Candidates(_floats(rows[:, 1:5]), spread(rows[:, 5], rows[:, 6], manifest))


def paddle(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """PaddleDetection: ``[K, 6]``: class, score, x1, y1, x2, y2."""
    rows = outputs[0]
    return Candidates(_floats(rows[:, 2:6]), spread(rows[:, 0], rows[:, 1], manifest))


def efficient_nms(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """``num [1]``, ``boxes [K, 4]``, ``scores [K]``, ``classes [K]``: TensorRT's EfficientNMS."""
    num, boxes, scores, classes = outputs
    count = int(num.reshape(-1)[0])
    return Candidates(_floats(boxes[:count]), spread(classes[:count], scores[:count], manifest))


def torchvision(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """``boxes [K, 4]`` in px, ``labels [K]`` from 1 (0 is the background), ``scores [K]``."""
    boxes, labels, scores = outputs
    return Candidates(_floats(boxes), spread(labels, scores, manifest, first_label=1))


def ssd(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """``boxes [K, 4]`` of 0..1, ``scores [K, 1 + C]`` with the background first."""
    boxes, scores = outputs
    return Candidates(_floats(boxes) * row_size(manifest), _floats(scores[:, 1:]))


def ssd_chosen(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """``boxes [K, 4]`` of 0..1, ``labels [K]`` from 1, ``scores [K]``."""
    boxes, labels, scores = outputs
    scaled = _floats(boxes) * row_size(manifest)
    return Candidates(scaled, spread(labels, scores, manifest, first_label=1))


def tensorflow(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """TensorFlow: ``boxes [K, 4]``: y1, x1, y2, x2 of 0..1; ``classes [K]`` from 1, ``scores``."""
    boxes, classes, scores = outputs
    scaled = _floats(boxes)[:, [1, 0, 3, 2]] * row_size(manifest)
    return Candidates(scaled, spread(classes, scores, manifest, first_label=1))


def _floats(array: Array) -> Floats:
    return array.astype(np.float32)
