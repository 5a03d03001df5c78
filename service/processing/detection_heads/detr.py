"""Heads of detection transformers: a fixed number of queries, each with a box and logits."""

from collections.abc import Sequence

from service.artifact.manifest import Manifest
from service.processing.detection_heads.candidates import (
    Array,
    Candidates,
    corners,
    row_size,
    sigmoid,
    softmax,
)


def detr(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """DETR, YOLOS: ``logits [K, C + 1]``, "no object" last; ``boxes [K, 4]``: cxcywh of 0..1."""
    logits, boxes = outputs
    return Candidates(corners(boxes) * row_size(manifest), softmax(logits)[:, :-1])


def rt_detr(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """RT-DETR, Deformable DETR: ``logits [K, C]``, each with a sigmoid of its own, and boxes."""
    logits, boxes = outputs
    return Candidates(corners(boxes) * row_size(manifest), sigmoid(logits))
