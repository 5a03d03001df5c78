"""The training of classifiers on CIFAR-10's 50,000 training images, and their scores.

Nothing is chosen by looking at the test split: epochs, rates and networks were fixed before the
runs, there is no early stopping, and the test images are scored once, after training.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.artifact.parity import largest_difference
from export.models import build
from export.pytorch.checkpoint import save_half
from export.pytorch.description import WeightsDescription
from export.train.data.augment import crop_and_flip, pad_by_reflection
from export.train.data.cifar10 import (
    CIFAR10_LABELS,
    CIFAR10_MEAN,
    CIFAR10_STD,
    LabelledImages,
    read_cifar10,
)
from export.train.loop import TrainingBatch, TrainingTask, fit, pick_device
from export.train.normalisation import normalise
from export.train.report import Report, Subject, write_report
from export.train.schedule import Schedule
from export.train.score import ClassificationScore, export_weights, score_artifact
from service.artifact.manifest import ImagePreprocessing

SIZE_PX = 32
PADDING_PX = 4
PREPROCESSING = ImagePreprocessing(
    height=SIZE_PX, width=SIZE_PX, crop_share=1.0, mean=CIFAR10_MEAN, std=CIFAR10_STD
)
LABEL_SMOOTHING = 0.1
AUXILIARY_WEIGHT = 0.3
"""The weight of each auxiliary head's loss (GoogLeNet, section 5)."""


@dataclass(frozen=True)
class Cifar10Classifier:
    """One network and its training."""

    name: str
    architecture: str
    options: Mapping[str, int]
    """The constructor's parameters, beside ``num_classes`` and ``small_images``."""
    schedule: Schedule
    top1_floor: float
    """What the exported artifact must reach on the test split, in 0..1."""
    network: str
    """The network in a sentence, for the model card."""
    training_options: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """The constructor's parameters for training alone."""
    training: str = ""
    """The particulars of its training, for the model card."""

    @property
    def description(self) -> WeightsDescription:
        """The weights' metadata, without the score."""
        return WeightsDescription(
            architecture=self.architecture,
            options={"num_classes": len(CIFAR10_LABELS), "small_images": True, **self.options},
            labels=CIFAR10_LABELS,
            preprocessing=PREPROCESSING,
            recipe="export.train.classification.cifar10_classifiers",
            seed=self.schedule.seed,
            data="CIFAR-10, training split",
            licence="Apache-2.0",
            metrics={},
        )

    @property
    def subject(self) -> Subject:
        """The texts of the model card."""
        return Subject(
            name=self.name,
            title=f"{self.name}: what is in a small photograph, of ten classes",
            command=f"sightline train {self.name} --data DIR",
            network=self.network,
            training=f"{TRAINING_TEXT} {self.training}",
            data=DATA_TEXT,
            limits=LIMITS_TEXT,
            licence="The weights: Apache-2.0, as the project.",
        )


TRAINING_TEXT = f"""On all 50,000 training photographs; none are held out, for nothing was chosen
    along the way. Random crops after {PADDING_PX} px of reflected padding, random mirroring, label
    smoothing {LABEL_SMOOTHING}, bfloat16 autocast."""
DATA_TEXT = """CIFAR-10 (Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
    2009), from JPEG-compressed copies of the photographs, for training and test alike. The data set
    is widely used for research and carries no explicit licence; it is not part of this project.
    `--data DIR` names a folder with `cifar10.parquet`: columns `split` (train, test), `label` (the
    class's name) and `image` (JPEG or PNG bytes). Its author publishes the original pixels at
    cs.toronto.edu/~kriz/cifar.html."""
LIMITS_TEXT = """It sees 32x32 pixels and knows ten words: whatever it is shown is one of them to
    it. Photographs are cut to their central square and shrunk, so small and off-centre subjects are
    lost. It is meant for demonstrations and tests."""


def run(
    classifier: Cifar10Classifier, data_dir: Path, output_dir: Path, epochs: int | None = None
) -> Path:
    """Train, export, score, report; returns the weights file."""
    schedule, description = classifier.schedule, classifier.description
    if epochs is not None:
        schedule = replace(schedule, epochs=epochs)
    training, test = read_cifar10(data_dir, "train"), read_cifar10(data_dir, "test")
    torch.manual_seed(schedule.seed)
    options = {**description.options, **classifier.training_options}
    trained = build(classifier.architecture, **options)
    task = training_task(training, schedule.batch_size)
    progression = fit(trained, task, schedule, output_dir / "checkpoint.pt", pick_device())
    network = as_served(trained, description)
    weights = output_dir / f"{classifier.name}.safetensors"
    save_half(network, weights, description.to_metadata())
    score, max_absolute = score_exported(classifier.name, weights, test, output_dir)
    description = description.model_copy(update={"metrics": {"top1": score.top1}})
    save_half(network, weights, description.to_metadata())
    report = Report(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weights_bytes=weights.stat().st_size,
        schedule=schedule,
        progression=progression,
        score=score,
        top1_pytorch=score_network(network, test),
        parity_max_absolute=max_absolute,
    )
    write_report(output_dir, classifier.subject, report)
    return weights


def training_task(split: LabelledImages, batch_size: int) -> TrainingTask:
    """Random crops and mirror images of ``split``, in a new order every epoch."""
    padded = pad_by_reflection(split.images, PADDING_PX)

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        order = torch.randperm(len(padded), generator=generator)
        for indices in order.split(batch_size):
            yield crop_and_flip(padded, indices, SIZE_PX, generator), split.targets[indices]

    steps = -(-len(padded) // batch_size)
    return TrainingTask(steps_per_epoch=steps, batches=batches, loss=smoothed_cross_entropy)


def smoothed_cross_entropy(network: nn.Module, batch: TrainingBatch) -> Tensor:
    """The loss of uint8 images ``[N, 3, H, W]`` and targets ``[N]``, with auxiliary heads' own."""
    images, targets = batch
    answer = network(normalise(images, PREPROCESSING))
    logits, *auxiliary = answer if isinstance(answer, tuple) else (answer,)
    cross_entropy = partial(functional.cross_entropy, label_smoothing=LABEL_SMOOTHING)
    loss = cross_entropy(logits.float(), targets)
    for inner in auxiliary:
        loss = loss + AUXILIARY_WEIGHT * cross_entropy(inner.float(), targets)
    return loss


def as_served(trained: nn.Module, description: WeightsDescription) -> nn.Module:
    """The network without its parts for training alone, such as auxiliary heads."""
    served = build(description.architecture, **description.options)
    state = trained.state_dict()
    served.load_state_dict({key: state[key] for key in served.state_dict()})
    return served.to(next(trained.parameters()).device).eval()


def score_network(network: nn.Module, test: LabelledImages) -> float:
    """Top-1 of the network itself, in 0..1."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        answers = [
            network(normalise(images.to(device), PREPROCESSING)).argmax(1).cpu()
            for images in test.images.split(500)
        ]
    return float((torch.cat(answers) == test.targets).float().mean())


def score_exported(
    name: str, weights: Path, test: LabelledImages, output_dir: Path
) -> tuple[ClassificationScore, float]:
    """Export the written weights and run the test split through ONNX Runtime.

    Returns:
        The score, and the largest difference of a score in the parity report.
    """
    artifact_dir = export_weights(name, weights, output_dir)
    return score_split(artifact_dir, test), largest_difference(artifact_dir)


def score_held_out(artifact_dir: Path, data_dir: Path) -> dict[str, float]:
    """Top-1 of an artifact on the test split, in 0..1."""
    return {"top1": score_split(artifact_dir, read_cifar10(data_dir, "test")).top1}


def score_split(artifact_dir: Path, split: LabelledImages) -> ClassificationScore:
    """Run a split through the artifact."""
    images = np.ascontiguousarray(split.images.permute(0, 2, 3, 1).numpy())
    return score_artifact(artifact_dir, images, split.targets.numpy(), CIFAR10_LABELS)
