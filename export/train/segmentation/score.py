"""Scores of masks on held-out images, measured on the exported artifact itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.artifact.parity import open_session, run_session
from service.artifact.manifest import MODEL_FILE

BATCH_SIZE = 8


@dataclass(frozen=True)
class SegmentationScore:
    """The quality of masks, in 0..1, over all pixels of all images together."""

    miou: float
    """The mean, over the classes, of intersection over union; classes that are
    neither there nor found do not count."""
    pixel_accuracy: float
    """The share of pixels with the right class."""
    iou_by_label: dict[str, float]
    images: int


def score_segmenter(
    artifact_dir: Path, images: NDArray[np.uint8], masks: NDArray[np.uint8], labels: Sequence[str]
) -> SegmentationScore:
    """Run held-out images through ONNX Runtime.

    Args:
        artifact_dir: the artifact.
        images: ``[N, H, W, C]``, of one of its buckets.
        masks: ``[N, H, W]``, indices into ``labels``; other pixels are left out.
        labels: one for each class.
    """
    session = open_session(artifact_dir / MODEL_FILE)
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for start in range(0, len(images), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        found, *_ = run_session(session, [images[part]])
        counts += confusion(masks[part], found, len(labels))
    return score_of(counts, labels, len(images))


def confusion(masks: NDArray[Any], found: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    """Count pixels: ``[num_classes, num_classes]``, a row for each true class.

    Args:
        masks: true classes; pixels of ``num_classes`` or more are left out.
        found: classes below ``num_classes``, of the same shape.
        num_classes: the number of classes.
    """
    is_labelled = masks < num_classes
    pairs = masks[is_labelled].astype(np.int64) * num_classes + found[is_labelled]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def score_of(counts: NDArray[np.int64], labels: Sequence[str], images: int) -> SegmentationScore:
    """The score of a confusion matrix."""
    right = counts.diagonal()
    union = counts.sum(axis=0) + counts.sum(axis=1) - right
    iou = np.divide(right, union, out=np.full(len(labels), np.nan), where=union > 0)
    return SegmentationScore(
        miou=float(np.nanmean(iou)),
        pixel_accuracy=float(right.sum() / counts.sum()),
        iou_by_label=dict(zip(labels, map(float, iou), strict=True)),
        images=images,
    )
