"""Shared by the recipes of all detectors: batches, and everything after the last epoch."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from export.artifact.parity import largest_difference
from export.pytorch.checkpoint import save_half
from export.pytorch.description import WeightsDescription
from export.train.data.boxed import BoxedImage
from export.train.detection.augment import Augmentation, augment, collate
from export.train.detection.score import DetectionScore, score_detector
from export.train.loop import Progression, TrainingBatch, TrainingTask
from export.train.report import (
    Subject,
    card,
    machine,
    paragraph,
    score_table,
    training_figures,
)
from export.train.schedule import Schedule
from export.train.score import export_weights


@dataclass(frozen=True)
class TrainedDetector:
    """A detector after its last epoch."""

    network: nn.Module
    description: WeightsDescription
    """Without the scores."""
    subject: Subject
    schedule: Schedule
    progression: Progression


def detection_task(
    images: Sequence[BoxedImage],
    how: Augmentation,
    batch_size: int,
    loss: Callable[[nn.Module, TrainingBatch], Tensor],
    passes: int = 1,
) -> TrainingTask:
    """Augmented images, in a new order every epoch.

    Args:
        images: the training images.
        how: the augmentation.
        batch_size: images per batch.
        loss: of a network and a batch of `collate`.
        passes: how often an epoch has each image, with other augmentation each time.
    """

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        seed = int(torch.randint(2**62, (1,), generator=generator))
        rng = np.random.default_rng(seed)
        order = np.concatenate([rng.permutation(len(images)) for _ in range(passes)])
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield collate([augment(images[index], how, rng) for index in chosen])

    steps = -(-len(images) * passes // batch_size)
    return TrainingTask(steps_per_epoch=steps, batches=batches, loss=loss)


def finish(trained: TrainedDetector, test: Sequence[BoxedImage], output_dir: Path) -> Path:
    """Write the weights, export them, score the artifact, report; returns the weights file.

    Args:
        trained: the detector.
        test: held-out images.
        output_dir: gets ``NAME.safetensors``, ``NAME.md``, ``report.json`` and the artifact.
    """
    name, network = trained.subject.name, trained.network
    weights = output_dir / f"{name}.safetensors"
    output_dir.mkdir(parents=True, exist_ok=True)
    save_half(network, weights, trained.description.to_metadata())
    artifact_dir = export_weights(name, weights, output_dir)
    score = score_detector(artifact_dir, test)
    description = trained.description.model_copy(update={"metrics": score.as_metrics()})
    save_half(network, weights, description.to_metadata())
    write_report(trained, score, weights, largest_difference(artifact_dir))
    return weights


def write_report(
    trained: TrainedDetector, score: DetectionScore, weights: Path, parity_max_absolute: float
) -> None:
    """Write ``report.json`` and the model card beside the weights."""
    parameters = sum(parameter.numel() for parameter in trained.network.parameters())
    weights_bytes = weights.stat().st_size
    content = {
        "parameters": parameters,
        "weights_bytes": weights_bytes,
        "schedule": asdict(trained.schedule),
        "progression": asdict(trained.progression),
        "score": asdict(score),
        "parity_max_absolute": parity_max_absolute,
        "versions": machine(),
    }
    (weights.parent / "report.json").write_text(json.dumps(content, indent=2) + "\n")
    made = card(
        trained.subject,
        (parameters, weights_bytes),
        score_section(score, parity_max_absolute),
        training_figures(trained.schedule, trained.progression),
    )
    weights.with_suffix(".md").write_text(made)


def score_section(score: DetectionScore, parity_max_absolute: float) -> list[str]:
    """The scores, and how they were measured."""
    number = "the test photograph" if score.images == 1 else f"{score.images} test photographs"
    exported = f"""Mean average precision on {number}, measured on the exported artifact
        (half-precision weights) with ONNX Runtime {onnxruntime.__version__}, the server's
        suppression and faster-coco-eval: **{score.map50:.4f}** where a box counts from an overlap
        of 0.5 on, {score.map50_95:.4f} averaged over overlaps from 0.5 to 0.95. Largest difference
        between PyTorch and ONNX Runtime at export: {parity_max_absolute:.1e} (boxes in px, scores
        in 0..1)."""
    return [paragraph(exported), score_table("AP at 0.5", score.ap50_by_label)]
