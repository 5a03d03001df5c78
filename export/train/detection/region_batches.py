"""The batches of the R-CNN family: augmented images, their boxes and their regions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from export.models.detection.regions import RegionTargets, sample_regions
from export.train.data.boxed import BoxedImage
from export.train.detection.augment import Augmentation, augment, collate
from export.train.loop import TrainingBatch
from service.artifact.manifest import ImagePreprocessing
from service.processing.placement import place

PROPOSED = -1
"""The target of a box that is a proposal."""

Batches = Callable[[torch.Generator], Iterator[TrainingBatch]]


def with_proposals(
    image: BoxedImage, proposals: NDArray[np.float32], preprocessing: ImagePreprocessing
) -> BoxedImage:
    """Add the proposals to an image's boxes, so that augmentation moves both.

    Args:
        image: of any size.
        proposals: ``[R, 4]`` in px of the network's input; unused rows zero.
        preprocessing: the network's.
    """
    height, width = image.pixels.shape[:2]
    used = proposals[(proposals[:, 2:] > proposals[:, :2]).all(axis=1)]
    boxes = place(width, height, preprocessing).to_image(used)
    return replace(
        image,
        boxes=np.concatenate([image.boxes, boxes]),
        targets=np.concatenate([image.targets, np.full(len(boxes), PROPOSED, np.int64)]),
    )


def box_batches(images: Sequence[BoxedImage], how: Augmentation, batch_size: int) -> Batches:
    """Batches of uint8 pixels ``[N, 3, H, W]``, boxes ``[N, M, 4]``, targets ``[N, M]`` and a seed.

    The seed is for the random choices of the loss, so that they do not depend on earlier ones.
    """

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        for chosen, rng in shuffled(images, batch_size, generator):
            seed = torch.tensor(int(rng.integers(2**31)))
            yield (*collate([augment(image, how, rng) for image in chosen]), seed)

    return batches


def region_batches(
    images: Sequence[BoxedImage], how: Augmentation, batch_size: int, regions: int
) -> Batches:
    """Batches of uint8 pixels ``[N, 3, H, W]`` and the parts of `RegionTargets`, ``[N, S, ...]``.

    Args:
        images: `with_proposals`.
        how: the augmentation.
        batch_size: N.
        regions: S, drawn from each image.
    """

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        for chosen, rng in shuffled(images, batch_size, generator):
            augmented = [augment(image, how, rng) for image in chosen]
            drawn = [draw_regions(image, regions, generator) for image in augmented]
            pixels, _, _ = collate(augmented)
            yield pixels, *(torch.stack(parts) for parts in zip(*drawn, strict=True))

    return batches


def draw_regions(image: BoxedImage, count: int, generator: torch.Generator) -> RegionTargets:
    """Regions of one augmented image."""
    is_true = image.targets != PROPOSED
    return sample_regions(
        torch.from_numpy(image.boxes[~is_true]),
        torch.from_numpy(image.boxes[is_true]),
        torch.from_numpy(image.targets[is_true]),
        generator,
        count,
    )


def shuffled(
    images: Sequence[BoxedImage], batch_size: int, generator: torch.Generator
) -> Iterator[tuple[list[BoxedImage], np.random.Generator]]:
    """The batches of an epoch in a new order, each with its own random generator."""
    order = torch.randperm(len(images), generator=generator)
    for indices in order.split(batch_size):
        seed = int(torch.randint(2**31, (), generator=generator))
        yield [images[index] for index in indices.tolist()], np.random.default_rng(seed)
