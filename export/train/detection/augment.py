"""Augmentation of images together with their boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.train.data.boxed import BoxedImage
from service.artifact.manifest import PADDING_LEVEL

MIN_VISIBLE_SHARE = 0.3
"""The share of a box's area that must stay in the window; else the box is dropped."""
MIN_SIDE_PX = 3
"""The smallest side of a box in the result; a smaller box is dropped."""


@dataclass(frozen=True)
class Augmentation:
    """The ranges of random changes."""

    height: int
    width: int
    zoom: tuple[float, float]
    """Smallest and largest factor from the image's px to the result's px."""
    stretch: float = 1.0
    """The largest ratio between the zooms of the two directions."""
    quarter_turns: bool = False
    """For images without an up and down."""
    flips_vertically: bool = False
    brightness: float = 0.0
    """The largest shift of all levels, as a share of 255."""
    contrast: float = 1.0
    """The largest factor (or its inverse) for the levels' distance from the mean."""
    saturation: float = 1.0
    """The largest factor (or its inverse) for the colours' distance from grey."""


def augment(image: BoxedImage, how: Augmentation, rng: np.random.Generator) -> BoxedImage:
    """Rotate, mirror, crop, resize and tint; returns an image of ``how.height x how.width``."""
    if how.quarter_turns:
        for _ in range(rng.integers(4)):
            image = turn(image)
    if rng.random() < 0.5:
        image = mirror(image)
    if how.flips_vertically and rng.random() < 0.5:
        image = turn(turn(mirror(image)))
    zoom = np.exp(rng.uniform(*np.log(how.zoom)))
    stretch = np.exp(rng.uniform(-1, 1) * np.log(how.stretch) / 2)
    window_width = max(1, round(how.width / (zoom * stretch)))
    window_height = max(1, round(how.height / (zoom / stretch)))
    height, width = image.pixels.shape[:2]
    left = draw_start(width, window_width, rng)
    top = draw_start(height, window_height, rng)
    image = cut(image, left, top, window_width, window_height)
    image = resize(image, how.height, how.width)
    return replace(image, pixels=tint(image.pixels, how, rng))


def draw_start(size_px: int, window_px: int, rng: np.random.Generator) -> int:
    """A random start of a window that is inside the image, or that contains it."""
    slack = size_px - window_px
    return int(rng.integers(min(0, slack), max(0, slack) + 1))


def mirror(image: BoxedImage) -> BoxedImage:
    """Left becomes right."""
    width = image.pixels.shape[1]
    x1, y1, x2, y2 = image.boxes.T
    boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
    return replace(image, pixels=image.pixels[:, ::-1], boxes=boxes)


def turn(image: BoxedImage) -> BoxedImage:
    """A quarter turn, against the clock."""
    width = image.pixels.shape[1]
    x1, y1, x2, y2 = image.boxes.T
    boxes = np.stack([y1, width - x2, y2, width - x1], axis=1)
    return replace(image, pixels=np.rot90(image.pixels), boxes=boxes)


def cut(image: BoxedImage, left: int, top: int, width: int, height: int) -> BoxedImage:
    """A window of an image, in px; outside the image it is grey, as in the server's letterbox."""
    right, bottom = left + width, top + height
    inside = image.pixels[max(0, top) : bottom, max(0, left) : right]
    pixels = np.full((height, width, 3), PADDING_LEVEL, np.uint8)
    y, x = max(0, -top), max(0, -left)
    pixels[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    shifted = image.boxes - np.array([left, top, left, top], np.float32)
    boxes = np.clip(shifted, 0, np.array([width, height, width, height], np.float32))
    is_seen = areas(boxes) >= MIN_VISIBLE_SHARE * areas(shifted)
    return replace(image, pixels=pixels, boxes=boxes[is_seen], targets=image.targets[is_seen])


def resize(image: BoxedImage, height: int, width: int) -> BoxedImage:
    """Resize to ``height x width``, antialiased."""
    old_height, old_width = image.pixels.shape[:2]
    is_smaller = height < old_height or width < old_width
    pixels = cv2.resize(
        np.ascontiguousarray(image.pixels),
        (width, height),
        interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR,
    )
    scales = np.array([width / old_width, height / old_height] * 2, np.float32)
    boxes = image.boxes * scales
    is_large = np.all(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE_PX, axis=1)
    return replace(
        image,
        pixels=np.asarray(pixels, np.uint8),
        boxes=boxes[is_large],
        targets=image.targets[is_large],
    )


def tint(
    pixels: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Change saturation, contrast and brightness of ``[H, W, 3]``."""
    saturation, contrast = (
        np.float32(factor ** rng.uniform(-1, 1)) for factor in (how.saturation, how.contrast)
    )
    shift = np.float32(255 * how.brightness * rng.uniform(-1, 1))
    levels = pixels.astype(np.float32)
    grey = levels.mean(axis=2, keepdims=True)
    coloured = grey + (levels - grey) * saturation
    mean = grey.mean()
    tinted = mean + (coloured - mean) * contrast + shift
    return tinted.round().clip(0, 255).astype(np.uint8)


def areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Areas ``[M]`` of boxes ``[M, 4]``, in square px."""
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=np.float32)


def collate(images: Sequence[BoxedImage]) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of images of one size.

    Returns:
        Pixels ``[N, 3, H, W]`` uint8, boxes ``[N, M, 4]`` float32 and targets ``[N, M]`` int64,
        with M the most boxes of an image; unused rows have the target -1.
    """
    most = max(1, *(len(image.boxes) for image in images))
    boxes = torch.zeros(len(images), most, 4)
    targets = torch.full((len(images), most), -1)
    for row, image in enumerate(images):
        boxes[row, : len(image.boxes)] = torch.from_numpy(image.boxes)
        targets[row, : len(image.boxes)] = torch.from_numpy(image.targets)
    pixels = torch.from_numpy(np.stack([image.pixels for image in images]))
    return pixels.permute(0, 3, 1, 2), boxes, targets
