"""The training task of images with masks: random views, and a weighted loss."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.train.loop import TrainingBatch, TrainingTask
from export.train.normalisation import normalise
from service.artifact.manifest import ImagePreprocessing

MIDDLE_LEVEL = 128.0
RARITY_EXPONENT = 0.5
"""How much more rare classes count: 0 for not at all, 1 for the balance of median frequency (Eigen
and Fergus, arXiv 1411.4734), which costs pixel accuracy."""


@dataclass(frozen=True)
class MaskedImages:
    """Images of one size, each with a mask."""

    images: Tensor
    """``[N, C, H, W]`` uint8."""
    masks: Tensor
    """``[N, H, W]`` uint8, classes; numbers beyond them are neither learned nor scored."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Views:
    """How training images are cut out of images."""

    height: int
    """The height of the training images, px."""
    width: int
    smallest_scale: float
    """Scales are drawn from here up to ``largest_scale``, evenly in the logarithm; a training
    image, divided by its scale, must fit into the image."""
    largest_scale: float
    contrast: float
    """Contrast and brightness vary by this share at most."""


def training_task(
    split: MaskedImages,
    views: Views,
    preprocessing: ImagePreprocessing,
    num_classes: int,
    batch_size: int,
) -> TrainingTask:
    """Random views of ``split``, in a new order every epoch, and their cross-entropy."""
    weights = class_weights(split.masks, num_classes)

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        order = torch.randperm(len(split), generator=generator)
        for indices in order.split(batch_size):
            drawn = [
                random_view(split.images[index], split.masks[index], views, generator)
                for index in indices
            ]
            images, masks = zip(*drawn, strict=True)
            yield torch.stack(images), torch.stack(masks)

    def loss(network: nn.Module, batch: TrainingBatch) -> Tensor:
        images, masks = batch
        logits = network(normalise(images, preprocessing)).float()
        targets = masks.long().masked_fill(masks >= num_classes, num_classes)
        return functional.cross_entropy(
            logits, targets, weights.to(logits.device), ignore_index=num_classes
        )

    steps = -(-len(split) // batch_size)
    return TrainingTask(steps_per_epoch=steps, batches=batches, loss=loss)


def class_weights(masks: Tensor, num_classes: int) -> Tensor:
    """The weight of a pixel of each class, ``[num_classes]``; 1 for the median class.

    A class's frequency is its share of the pixels of the masks that have it at all. A class that no
    mask has counts as the median one.
    """
    counts = torch.stack(
        [torch.bincount(mask.flatten().long(), minlength=256)[:num_classes] for mask in masks]
    )
    sizes = (counts > 0).sum(0) * masks[0].numel()
    frequency = counts.sum(0) / sizes  # not a number where there is no mask
    median = frequency.nanmedian()
    return (median / frequency.nan_to_num(float(median))) ** RARITY_EXPONENT


def random_view(
    image: Tensor, mask: Tensor, views: Views, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut a random window, resize it, mirror every second one, vary contrast and brightness.

    Args:
        image: ``[C, H, W]`` uint8.
        mask: ``[H, W]`` uint8.
        views: the ranges.
        generator: the only source of randomness.

    Returns:
        ``[C, height, width]`` and ``[height, width]``, uint8.
    """
    draws = torch.rand(6, generator=generator).tolist()
    range_ = math.log(views.largest_scale / views.smallest_scale)
    scale = views.smallest_scale * math.exp(draws[0] * range_)
    height, width = round(views.height / scale), round(views.width / scale)
    top = int(draws[1] * (mask.shape[0] - height + 1))
    left = int(draws[2] * (mask.shape[1] - width + 1))
    window = (..., slice(top, top + height), slice(left, left + width))
    wanted = (views.height, views.width)
    pixels = functional.interpolate(image[window][None].float(), wanted, mode="bilinear")[0]
    classes = functional.interpolate(mask[window][None, None], wanted, mode="nearest-exact")[0, 0]
    if draws[3] < 0.5:
        pixels, classes = pixels.flip(-1), classes.flip(-1)
    contrast, brightness = (1 + views.contrast * (2 * draw - 1) for draw in draws[4:])
    pixels = (pixels - MIDDLE_LEVEL) * contrast + MIDDLE_LEVEL * brightness
    return pixels.round().clamp(0, 255).to(torch.uint8), classes
