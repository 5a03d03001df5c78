"""The training of R-CNN, SPPNet, Fast R-CNN and Faster R-CNN."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from export.artifact.preprocess import preprocess_image
from export.models import build
from export.models.detection.fast_rcnn import BoxPredictor, head_loss
from export.models.detection.faster_rcnn import FasterRCNN
from export.models.detection.rcnn import RCNN
from export.models.detection.region_svm import RegionSVM
from export.models.detection.regions import RegionTargets
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import WeightsDescription, shipped_models
from export.pytorch.heads.classification import Normalise
from export.train.data.boxed import BoxedImage
from export.train.detection.augment import Augmentation
from export.train.detection.fit_regions import RegionFeatures, fit_head
from export.train.detection.proposals import Proposals, find_proposals
from export.train.detection.region_batches import box_batches, region_batches, with_proposals
from export.train.detection.training import TrainedDetector, finish
from export.train.loop import Progression, TrainingBatch, TrainingTask, fit, pick_device
from export.train.normalisation import normalise
from export.train.report import Subject
from export.train.schedule import Schedule
from service.artifact.manifest import ImagePreprocessing
from service.artifact.sections import DetectionSection
from service.processing.placement import place

PRETRAINED = "cifar10-resnet"
"""The shipped classifier from which R-CNN starts."""


class HasFeatures(Protocol):
    """A network that gives features of regions: R-CNN or SPPNet."""

    feature_count: int
    head: RegionSVM

    def features(self, x: Tensor, regions: Tensor) -> Tensor:
        """``[N, R, feature_count]`` of regions ``[N, R, 4]`` of normalised images."""
        ...


class FineTuning(nn.Module):
    """R-CNN or SPPNet with a head for training; machines replace the head afterwards.

    The head classifies as in the papers. It also moves boxes, which the papers' head does not, so
    that the features contain where in a region the object is.
    """

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.predictor = BoxPredictor(cast(HasFeatures, network).feature_count, num_classes)

    def forward(self, x: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and offsets of regions ``[N, R, 4]``, as in Fast R-CNN."""
        return self.predictor(cast(HasFeatures, self.network).features(x, regions))


@dataclass(frozen=True)
class RegionRecipe:
    """The recipe of one network of the family."""

    description: WeightsDescription
    """Without the scores."""
    preprocessing: ImagePreprocessing
    section: DetectionSection
    subject: Subject
    schedule: Schedule
    augmentation: Augmentation
    regions: int = 64
    """The number of regions of each image in a batch."""

    def shortened(self, epochs: int | None) -> "RegionRecipe":
        """The recipe with another number of epochs; None: unchanged."""
        if epochs is None:
            return self
        return replace(self, schedule=replace(self.schedule, epochs=epochs))

    def build(self) -> nn.Module:
        """The network with fresh weights, always the same."""
        torch.manual_seed(self.schedule.seed)
        return build(self.description.architecture, **self.description.options)

    def finish(
        self,
        network: nn.Module,
        progression: Progression,
        test: Sequence[BoxedImage],
        output_dir: Path,
    ) -> Path:
        """Write the weights, export them, score, report; returns the weights file."""
        trained = TrainedDetector(
            network, self.description, self.subject, self.schedule, progression
        )
        return finish(trained, test, output_dir)


def train_faster_rcnn(
    recipe: RegionRecipe,
    training: Sequence[BoxedImage],
    test: Sequence[BoxedImage],
    output_dir: Path,
) -> Path:
    """Train both networks jointly; returns the weights file."""

    def loss(network: nn.Module, batch: TrainingBatch) -> Tensor:
        images, boxes, targets, seed = batch
        chance = torch.Generator().manual_seed(int(seed))
        return cast(FasterRCNN, network).loss(
            normalise(images, recipe.preprocessing), boxes, targets, chance
        )

    network, batch_size = recipe.build(), recipe.schedule.batch_size
    batches = box_batches(training, recipe.augmentation, batch_size)
    task = TrainingTask(-(-len(training) // batch_size), batches, loss)
    progression = fit(network, task, recipe.schedule, output_dir / "checkpoint.pt", pick_device())
    return recipe.finish(network, progression, test, output_dir)


def train_fast_rcnn(
    recipe: RegionRecipe,
    training: Sequence[BoxedImage],
    test: Sequence[BoxedImage],
    output_dir: Path,
) -> Path:
    """Train with selective search's proposals; returns the weights file."""
    proposals = find_proposals(training, recipe.preprocessing, recipe.section, output_dir)
    network = recipe.build()
    progression = fit_on_regions(network, recipe, training, proposals, output_dir)
    return recipe.finish(network, progression, test, output_dir)


def train_machines(
    recipe: RegionRecipe,
    training: Sequence[BoxedImage],
    test: Sequence[BoxedImage],
    output_dir: Path,
) -> Path:
    """R-CNN and SPPNet: train the features, fit the machines; returns the weights file."""
    proposals = find_proposals(training, recipe.preprocessing, recipe.section, output_dir)
    network = recipe.build()
    if isinstance(network, RCNN):
        load_pretrained(network)
    tuning = FineTuning(network, len(recipe.description.labels))
    progression = fit_on_regions(tuning, recipe, training, proposals, output_dir)
    network.cpu()
    features = [
        region_features(network, image, its_proposals, recipe.preprocessing)
        for image, its_proposals in zip(training, proposals, strict=True)
    ]
    fit_head(cast(HasFeatures, network).head, features, recipe.schedule.seed)
    return recipe.finish(network, progression, test, output_dir)


def fit_on_regions(
    network: nn.Module,
    recipe: RegionRecipe,
    training: Sequence[BoxedImage],
    proposals: Proposals,
    output_dir: Path,
) -> Progression:
    """Train a network that returns logits and offsets of regions."""

    def loss(network: nn.Module, batch: TrainingBatch) -> Tensor:
        images, regions, labels, boxes = batch
        targets = [RegionTargets(*each) for each in zip(regions, labels, boxes, strict=True)]
        logits, offsets = network(normalise(images, recipe.preprocessing), regions)
        return head_loss(logits, offsets, targets)

    offered = [
        with_proposals(image, its_proposals, recipe.preprocessing)
        for image, its_proposals in zip(training, proposals, strict=True)
    ]
    batch_size = recipe.schedule.batch_size
    batches = region_batches(offered, recipe.augmentation, batch_size, recipe.regions)
    task = TrainingTask(-(-len(training) // batch_size), batches, loss)
    return fit(network, task, recipe.schedule, output_dir / "checkpoint.pt", pick_device())


def load_pretrained(network: RCNN) -> None:
    """Start from a classifier's convolutions (section 2.3; there ImageNet's, here CIFAR-10's)."""
    state = read_checkpoint(shipped_models()[PRETRAINED]).state
    body = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    network.body.load_state_dict({**network.body.state_dict(), **body})


@torch.inference_mode()
def region_features(
    network: nn.Module,
    image: BoxedImage,
    proposals: np.ndarray,
    preprocessing: ImagePreprocessing,
) -> RegionFeatures:
    """The network's features, on the CPU, of an image's true boxes and proposals."""
    height, width = image.pixels.shape[:2]
    boxes = place(width, height, preprocessing).to_row(image.boxes)
    used = proposals[(proposals[:, 2:] > proposals[:, :2]).all(axis=1)]
    regions = np.concatenate([boxes, used])
    row = preprocess_image(Image.fromarray(image.pixels), preprocessing)
    x = Normalise(preprocessing)(torch.from_numpy(row[None]))
    features = cast(HasFeatures, network).features(x, torch.from_numpy(regions[None]))
    return RegionFeatures(regions, features[0].numpy(), image.targets)
