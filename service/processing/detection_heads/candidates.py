"""The result of every detection head, and the steps that heads share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest

Array = NDArray[Any]
Floats = NDArray[np.float32]


class Masks(Protocol):
    """A mask for each candidate, made on demand: all at once may take gigabytes."""

    def __getitem__(self, index: int, /) -> Floats:
        """``[h, w]``, 0..1: of the whole row at some smaller size."""
        ...


class Candidates(NamedTuple):
    """All candidate objects of one image."""

    boxes: Floats
    """``[K, 4]``, ``x1, y1, x2, y2`` in px of the row; a box without area is unused."""
    scores: Floats
    """``[K, num_classes]``, 0..1."""
    masks: Masks | None = None
    keypoints: Floats | None = None
    """``[K, P, 3]``: column and row in px of the row, and a score 0..1."""


Head = Callable[[Sequence[Array], Manifest], Candidates]
"""Takes one image's row of every output, without the batch axis."""


def row_size(manifest: Manifest) -> Floats:
    """``width, height, width, height`` of the row, in px."""
    preprocessing = manifest.preprocessing
    assert preprocessing is not None  # checked as the repository was read
    return np.array([preprocessing.width, preprocessing.height] * 2, np.float32)


def corners(boxes: Array) -> Floats:
    """``[K, 4]`` of centre x, centre y, width, height -> ``x1, y1, x2, y2``."""
    boxes = boxes.astype(np.float32)
    half = boxes[:, 2:] / 2
    edges = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return edges.astype(np.float32)


def sigmoid(logits: Array) -> Floats:
    """The logistic function."""
    with np.errstate(over="ignore"):  # 1 / infinity is the right 0
        return (1 / (1 + np.exp(-logits.astype(np.float32)))).astype(np.float32)


def softmax(logits: Array) -> Floats:
    """Over the last axis."""
    shares = np.exp(logits.astype(np.float32) - logits.max(axis=-1, keepdims=True))
    return (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)


def spread(labels: Array, scores: Array, manifest: Manifest, first_label: int = 0) -> Floats:
    """One label and one score for each candidate -> ``[K, num_classes]``.

    Args:
        labels: ``[K]``; a label that is no class, such as the background, gets no score.
        scores: ``[K]``, 0..1.
        manifest: names the classes.
        first_label: the number of class 0.
    """
    spread_scores = np.zeros((len(labels), len(manifest.labels)), np.float32)
    index = np.rint(labels).astype(np.int64) - first_label
    (known,) = np.nonzero((index >= 0) & (index < spread_scores.shape[1]))
    spread_scores[known, index[known]] = scores[known]
    return spread_scores
