"""Recipe ``cifar10-resnet``: a narrow ResNet-18 on CIFAR-10's 50,000 training photographs.

Nothing is chosen by looking at the test split: epochs, rates and the network were fixed before the
run, there is no early stop, and the test photographs are scored once, after training.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.checkpoint import save_half
from export.description import WeightsDescription
from export.models import build
from export.network import ArtifactWishes
from export.resolve import Source, export_source
from export.train.augment import crop_and_flip, pad_by_reflection
from export.train.cifar10 import (
    CIFAR10_LABELS,
    CIFAR10_MEAN,
    CIFAR10_STD,
    LabelledImages,
    read_cifar10,
)
from export.train.loop import Batch, Schedule, Task, fit, pick_device
from export.train.recipe import Floor, Recipe
from export.train.report import Report, Subject, write_report
from export.train.score import ClassificationScore, score_artifact
from service.manifest import PARITY_FILE, ImagePreprocessing

NAME = "cifar10-resnet"
SIZE_PX = 32
PADDING_PX = 4
LABEL_SMOOTHING = 0.1
SCHEDULE = Schedule(epochs=24, batch_size=128, peak_learning_rate=0.2, seed=0)

DESCRIPTION = WeightsDescription(
    architecture="resnet18",
    options={"width": 16, "num_classes": len(CIFAR10_LABELS), "small_images": True},
    labels=CIFAR10_LABELS,
    preprocessing=ImagePreprocessing(
        height=SIZE_PX, width=SIZE_PX, crop_share=1.0, mean=CIFAR10_MEAN, std=CIFAR10_STD
    ),
    recipe="export.train.cifar10_resnet",
    seed=SCHEDULE.seed,
    data="CIFAR-10, training split",
    licence="Apache-2.0",
    metrics={},
)

SUBJECT = Subject(
    name=NAME,
    title=f"{NAME}: what is in a small photograph, of ten classes",
    command=f"sightline train {NAME} --data DIR",
    network="""ResNet-18 (He et al. 2015) with the stem for small images and a quarter of the usual
        width.""",
    training=f"""On all 50,000 training photographs; none are held out, for nothing was chosen along
        the way. Random crops after {PADDING_PX} px of reflected padding, random mirroring, label
        smoothing {LABEL_SMOOTHING}, bfloat16 autocast.""",
    data="""CIFAR-10 (Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
        2009), from JPEG-compressed copies of the photographs, for training and test alike. The
        data set is widely used for research and carries no explicit licence; it is not part of this
        project. `--data DIR` names a folder with `cifar10.parquet`: columns `split` (train, test),
        `label` (the class's name) and `image` (JPEG or PNG bytes). Its author publishes the
        original pixels at cs.toronto.edu/~kriz/cifar.html.""",
    limits="""It sees 32x32 pixels and knows ten words: whatever it is shown is one of them to it.
        Photographs are cut to their central square and shrunk, so small and off-centre subjects are
        lost. It is meant for demonstrations and tests.""",
    licence="The weights: Apache-2.0, as the project.",
)


def run(data_dir: Path, output_dir: Path, epochs: int | None = None) -> Path:
    """Train, export, score, report; returns the weights file."""
    schedule = SCHEDULE if epochs is None else replace(SCHEDULE, epochs=epochs)
    training, test = read_cifar10(data_dir, "train"), read_cifar10(data_dir, "test")
    torch.manual_seed(schedule.seed)
    network = build(DESCRIPTION.architecture, **DESCRIPTION.options)
    task = training_task(training, schedule.batch_size)
    progression = fit(network, task, schedule, output_dir / "checkpoint.pt", pick_device())
    weights = output_dir / f"{NAME}.safetensors"
    save_half(network, weights, DESCRIPTION.to_metadata())
    score, max_absolute = score_exported(weights, test, output_dir)
    description = DESCRIPTION.model_copy(update={"metrics": {"top1": score.top1}})
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
    write_report(output_dir, SUBJECT, report)
    return weights


def score_held_out(artifact_dir: Path, data_dir: Path) -> dict[str, float]:
    """Top-1 of an artifact on the test split, in 0..1."""
    test = read_cifar10(data_dir, "test")
    images = np.ascontiguousarray(test.images.permute(0, 2, 3, 1).numpy())
    score = score_artifact(artifact_dir, images, test.targets.numpy(), CIFAR10_LABELS)
    return {"top1": score.top1}


def training_task(split: LabelledImages, batch_size: int) -> Task:
    """Random crops and mirror images of ``split``, in a new order every epoch."""
    padded = pad_by_reflection(split.images, PADDING_PX)

    def batches(generator: torch.Generator) -> Iterator[Batch]:
        order = torch.randperm(len(padded), generator=generator)
        for indices in order.split(batch_size):
            yield crop_and_flip(padded, indices, SIZE_PX, generator), split.targets[indices]

    steps = -(-len(padded) // batch_size)
    return Task(steps_per_epoch=steps, batches=batches, loss=smoothed_cross_entropy)


def smoothed_cross_entropy(network: nn.Module, batch: Batch) -> Tensor:
    """The loss of uint8 images ``[N, 3, H, W]`` and targets ``[N]``."""
    images, targets = batch
    logits = network(normalise(images))
    return functional.cross_entropy(logits.float(), targets, label_smoothing=LABEL_SMOOTHING)


def normalise(images: Tensor) -> Tensor:
    """uint8 ``[N, 3, H, W]`` -> float32, about zero mean and unit variance."""
    mean = torch.tensor(CIFAR10_MEAN, device=images.device)[:, None, None]
    std = torch.tensor(CIFAR10_STD, device=images.device)[:, None, None]
    normalised = (images.float() - mean) / std
    return normalised.contiguous(memory_format=torch.channels_last)


def score_network(network: nn.Module, test: LabelledImages) -> float:
    """Top-1 of the network itself, in 0..1."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        answers = [
            network(normalise(images.to(device))).argmax(1).cpu()
            for images in test.images.split(500)
        ]
    return float((torch.cat(answers) == test.targets).float().mean())


def score_exported(
    weights: Path, test: LabelledImages, output_dir: Path
) -> tuple[ClassificationScore, float]:
    """Export the written weights and run the test split through ONNX Runtime.

    Returns:
        The score, and the largest difference of a score in the parity report.
    """
    repository = output_dir / "artifact"
    shutil.rmtree(repository, ignore_errors=True)
    artifact_dir = export_source(Source(NAME, weights), ArtifactWishes(NAME), repository)
    images = np.ascontiguousarray(test.images.permute(0, 2, 3, 1).numpy())
    score = score_artifact(artifact_dir, images, test.targets.numpy(), CIFAR10_LABELS)
    parity = json.loads((artifact_dir / PARITY_FILE).read_text())
    return score, max(result["max_absolute"] for result in parity["results"])


RECIPE = Recipe(NAME, "CIFAR-10, test split", run, score_held_out, (Floor("top1", at_least=0.86),))
