"""The training of a narrow YOLOv3.

Objects appear in many sizes, as in v2's multi-scale training. Here `Augmentation.zoom` zooms into
the images instead of changing the size of the input, so that all batches cost the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from export.models import build
from export.models.detection.yolo import GridDetector
from export.models.detection.yolo_loss import yolo_loss
from export.pytorch.description import WeightsDescription
from export.train.data.boxed import BoxedImage
from export.train.detection.augment import Augmentation
from export.train.detection.training import TrainedDetector, detection_task, finish
from export.train.loop import TrainingBatch, fit, pick_device
from export.train.normalisation import normalise
from export.train.report import Subject
from export.train.schedule import Schedule
from service.artifact.manifest import ImagePreprocessing


@dataclass(frozen=True)
class YoloRecipe:
    """The recipe of one YOLO."""

    description: WeightsDescription
    """Without the scores."""
    preprocessing: ImagePreprocessing
    subject: Subject
    schedule: Schedule
    augmentation: Augmentation
    passes: int = 1
    """How often an epoch has each image, with other augmentation each time."""


def train_yolo(
    recipe: YoloRecipe,
    training: Sequence[BoxedImage],
    test: Sequence[BoxedImage],
    output_dir: Path,
    epochs: int | None = None,
) -> Path:
    """Train, export, score, report; returns the weights file."""
    schedule = recipe.schedule if epochs is None else replace(recipe.schedule, epochs=epochs)
    torch.manual_seed(schedule.seed)
    network = build(recipe.description.architecture, **recipe.description.options)

    def loss(network: nn.Module, batch: TrainingBatch) -> Tensor:
        images, boxes, targets = batch
        return yolo_loss(
            cast(GridDetector, network),
            network(normalise(images, recipe.preprocessing)),
            boxes,
            targets,
        )

    task = detection_task(training, recipe.augmentation, schedule.batch_size, loss, recipe.passes)
    progression = fit(network, task, schedule, output_dir / "checkpoint.pt", pick_device())
    trained = TrainedDetector(network, recipe.description, recipe.subject, schedule, progression)
    return finish(trained, test, output_dir)
