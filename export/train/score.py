"""Scores on held-out data, measured on the exported artifact itself."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.artifact.parity import open_session, run_session
from export.pytorch.network import ArtifactOptions
from export.pytorch.resolve import NetworkSource, export_source
from service.artifact.manifest import MODEL_FILE

BATCH_SIZE = 32


def export_weights(name: str, weights: Path, output_dir: Path) -> Path:
    """Export a recipe's weights anew; returns the artifact's directory, in ``output_dir``."""
    repository = output_dir / "artifact"
    shutil.rmtree(repository, ignore_errors=True)
    return export_source(NetworkSource(name, weights), ArtifactOptions(name), repository)


@dataclass(frozen=True)
class ClassificationScore:
    """The share of images whose best label is right, in 0..1."""

    top1: float
    top1_by_label: dict[str, float]
    images: int


def score_artifact(
    artifact_dir: Path, images: NDArray[np.uint8], targets: NDArray[np.int64], labels: Sequence[str]
) -> ClassificationScore:
    """Run held-out images through ONNX Runtime.

    Args:
        artifact_dir: the artifact.
        images: ``[N, H, W, C]``, of the graph's input size.
        targets: ``[N]``, indices into ``labels``.
        labels: one for each class.
    """
    session = open_session(artifact_dir / MODEL_FILE)
    starts = range(0, len(images), BATCH_SIZE)
    answers = [run_session(session, [images[i : i + BATCH_SIZE]])[0].argmax(axis=1) for i in starts]
    is_right = np.concatenate(answers) == targets
    return ClassificationScore(
        top1=float(is_right.mean()),
        top1_by_label={
            label: float(is_right[targets == index].mean()) for index, label in enumerate(labels)
        },
        images=len(images),
    )
