"""Heads of FCOS and similar detectors: outputs for every cell of several grids.

Tian et al. 2019, arXiv 1904.01355.
"""

from collections.abc import Sequence

import numpy as np

from service.artifact.manifest import Manifest
from service.processing.detection_heads.candidates import Array, Candidates, Floats, sigmoid


def fcos(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """A level: class logits ``[C, h, w]``, distances ``[4, h, w]``, centreness ``[1, h, w]``.

    The distances, from the cell's centre to the left, top, right and bottom edge, are in px.
    """
    return _levels(outputs, manifest, are_strides=False)


def fcos_strides(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """As `fcos`, with distances in cells of the level, as torchvision has them."""
    return _levels(outputs, manifest, are_strides=True)


def _levels(outputs: Sequence[Array], manifest: Manifest, *, are_strides: bool) -> Candidates:
    boxes: list[Floats] = []
    scores: list[Floats] = []
    for start in range(0, len(outputs), 3):
        logits, distances, centreness = outputs[start : start + 3]
        boxes.append(_boxes(distances.astype(np.float32), manifest, are_strides=are_strides))
        # The square root keeps the product on the scale of one probability.
        score = np.sqrt(sigmoid(logits) * sigmoid(centreness))
        scores.append(score.reshape(len(logits), -1).T)
    return Candidates(np.concatenate(boxes), np.concatenate(scores))


def _boxes(distances: Floats, manifest: Manifest, *, are_strides: bool) -> Floats:
    """``[4, h, w]`` -> ``[h * w, 4]``, ``x1, y1, x2, y2`` in px of the row."""
    preprocessing = manifest.preprocessing
    assert preprocessing is not None
    _, height, width = distances.shape
    stride_y, stride_x = preprocessing.height / height, preprocessing.width / width
    if are_strides:
        distances = distances * np.array(
            [stride_x, stride_y, stride_x, stride_y], np.float32
        ).reshape(4, 1, 1)
    x = (np.arange(width, dtype=np.float32) + 0.5) * np.float32(stride_x)
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) * np.float32(stride_y)
    left, top, right, bottom = distances
    edges = np.stack([x - left, y - top, x + right, y + bottom], axis=-1)
    return edges.reshape(-1, 4).astype(np.float32)
