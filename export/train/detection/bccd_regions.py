"""Recipes ``bccd-rcnn``, ``bccd-sppnet``, ``bccd-fast-rcnn`` and ``bccd-faster-rcnn``.

The cells of a blood smear, found by the four detectors that classify regions.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from export.pytorch.description import WeightsDescription
from export.train.data.bccd import BCCD_LABELS, DATA_TEXT, LIMITS_TEXT, TRAINING_TEXT, read_bccd
from export.train.data.boxed import BoxedImage
from export.train.detection.augment import Augmentation
from export.train.detection.region_training import (
    RegionRecipe,
    train_fast_rcnn,
    train_faster_rcnn,
    train_machines,
)
from export.train.detection.score import score_detector
from export.train.recipe import Floor, Recipe
from export.train.report import Subject
from export.train.schedule import Schedule
from service.artifact.manifest import ImagePreprocessing, Task
from service.artifact.sections import DetectionSection

HEIGHT_PX, WIDTH_PX = 240, 320
MAX_PROPOSALS = 384

PREPROCESSING = ImagePreprocessing(
    height=HEIGHT_PX, width=WIDTH_PX, fit="letterbox", mean=(180.0,) * 3, std=(50.0,) * 3
)
AUGMENTATION = Augmentation(
    HEIGHT_PX,
    WIDTH_PX,
    zoom=(0.4, 0.65),
    stretch=1.15,
    quarter_turns=True,
    brightness=0.08,
    contrast=1.25,
    saturation=1.3,
)
# A ResNet-18 up to its third stage, three eighths as wide as usual, and dense layers to match.
NARROW: Mapping[str, Any] = {"width": 24, "channels": 64, "representation_size": 128}

PROPOSALS_TEXT = f"""The graph takes {MAX_PROPOSALS} proposals beside the image; they come from
    selective search (Uijlings et al. 2013), in the training as in the server."""
FITTED_TEXT = """Then one linear support vector machine a class was fitted to the features of true
    boxes and of background (with the hard negatives that it found), its scores were scaled to
    probabilities (Platt 1999), and a ridge regression was fitted that moves the boxes."""

TrainRegions = Callable[[RegionRecipe, Sequence[BoxedImage], Sequence[BoxedImage], Path], Path]


def region_recipe(
    name: str,
    architecture: str,
    options: Mapping[str, Any],
    schedule: Schedule,
    network: str,
    training: str,
    max_proposals: int = MAX_PROPOSALS,
) -> RegionRecipe:
    """The common parts of the four recipes."""
    section = DetectionSection(score_threshold=0.3, iou_threshold=0.4, max_proposals=max_proposals)
    return RegionRecipe(
        description=WeightsDescription(
            task=Task.DETECTION,
            architecture=architecture,
            options={"num_classes": len(BCCD_LABELS), **options},
            labels=BCCD_LABELS,
            preprocessing=PREPROCESSING,
            detection=section,
            recipe="export.train.detection.bccd_regions",
            seed=schedule.seed,
            data="BCCD, training and validation splits",
            licence="Apache-2.0",
            metrics={},
        ),
        preprocessing=PREPROCESSING,
        section=section,
        subject=Subject(
            name=name,
            title=f"{name}: red cells, white cells and platelets in a blood smear",
            command=f"sightline train {name} --data DIR",
            network=f"{network} {PROPOSALS_TEXT if max_proposals else ''}",
            training=f"{TRAINING_TEXT} {training}",
            data=DATA_TEXT,
            limits=LIMITS_TEXT,
            licence="The weights: Apache-2.0, as the project.",
        ),
        schedule=schedule,
        augmentation=AUGMENTATION,
    )


RCNN = region_recipe(
    "bccd-rcnn",
    "rcnn_resnet18",
    {"width": 16},
    Schedule(epochs=4, batch_size=4, peak_learning_rate=0.02),
    """R-CNN (Girshick et al. 2014): every proposal is warped to 32x32 px and sent through a
        ResNet-18 for small images, a quarter as wide as usual, on its own.""",
    f"""The network began with the weights of cifar10-resnet and learned to tell 64 warped regions
        of each photograph apart. {FITTED_TEXT}""",
)
SPPNET = region_recipe(
    "bccd-sppnet",
    "sppnet_resnet18",
    NARROW,
    Schedule(epochs=10, batch_size=4, peak_learning_rate=0.02),
    """SPPNet (He et al. 2014): one feature map of stride 8 for the whole image, pooled for each
        proposal over pyramids of 6x6, 3x3, 2x2 and 1x1 cells.""",
    f"""The network learned to tell 64 regions of each photograph apart, convolutions and all (the
        paper could train dense layers alone). {FITTED_TEXT}""",
)
FAST_RCNN = region_recipe(
    "bccd-fast-rcnn",
    "fast_rcnn_resnet18",
    NARROW,
    Schedule(epochs=10, batch_size=4, peak_learning_rate=0.02),
    """Fast R-CNN (Girshick 2015): one feature map of stride 8 for the whole image, RoI max pooling
        of each proposal to 7x7 cells, softmax over the classes and a box for each.""",
    "64 regions of each photograph, a quarter of them things at most.",
)
FASTER_RCNN = region_recipe(
    "bccd-faster-rcnn",
    "faster_rcnn_resnet18",
    {
        **NARROW,
        # Cells are round. With 0.7 a platelet, 20 px wide, has at most one anchor of stride 8.
        "anchor_sizes_px": [16, 24, 50, 75, 110],
        "aspect_ratios": [1.0],
        "positive_iou": 0.5,
        "looked_at": 150,
        "proposals": 200,
    },
    Schedule(epochs=16, batch_size=4, peak_learning_rate=0.02),
    """Faster R-CNN (Ren et al. 2015): a region proposal network on a feature map of stride 8 picks
        200 regions inside the graph, RoIAlign pools them, softmax over the classes and a box for
        each.""",
    "Both networks jointly: 256 anchors and 64 regions of each photograph.",
    max_proposals=0,
)


def run(
    recipe: RegionRecipe,
    train: TrainRegions,
    data_dir: Path,
    output_dir: Path,
    epochs: int | None = None,
) -> Path:
    """Train, export, score, report; returns the weights file."""
    training, test = read_bccd(data_dir, "train", "val"), read_bccd(data_dir, "test")
    return train(recipe.shortened(epochs), training, test, output_dir)


def score_held_out(artifact_dir: Path, data_dir: Path) -> dict[str, float]:
    """Mean average precision of an artifact on the test split, in 0..1."""
    return score_detector(artifact_dir, read_bccd(data_dir, "test")).as_metrics()


RECIPES = tuple(
    Recipe(
        recipe.subject.name,
        "BCCD, test split",
        partial(run, recipe, train),
        score_held_out,
        (Floor("map50", at_least=floor),),
    )
    for recipe, train, floor in (
        (RCNN, train_machines, 0.50),
        (SPPNET, train_machines, 0.55),
        (FAST_RCNN, train_fast_rcnn, 0.55),
        (FASTER_RCNN, train_faster_rcnn, 0.75),
    )
)
