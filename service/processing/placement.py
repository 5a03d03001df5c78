"""Where an image lies in the network's input row, and how boxes are mapped back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import ImagePreprocessing


@dataclass(frozen=True, slots=True)
class Placement:
    """A rectangle of an upright image that fills a rectangle of the row."""

    image_width: int
    image_height: int
    source: tuple[float, float, float, float]
    """Left, top, right, bottom, in px of the image; may be fractions."""
    target: tuple[int, int, int, int]
    """Left, top, right, bottom, in px of the row; the rest of the row is padding."""

    row_width: int
    row_height: int

    @property
    def target_shares(self) -> tuple[float, float, float, float]:
        """``target`` as shares of the row's sides, 0..1."""
        left, top, right, bottom = self.target
        width, height = self.row_width, self.row_height
        return left / width, top / height, right / width, bottom / height

    def to_row(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes ``[N, 4]`` in px of the image -> px of the row, cut at the edges of ``target``."""
        scale, shift = self._scale_and_shift()
        left, top, right, bottom = self.target
        placed = boxes * scale + shift
        return _clip(placed, (left, top), (right, bottom))

    def to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes ``[N, 4]`` in px of the row -> px of the image, cut at the image's edges."""
        scale, shift = self._scale_and_shift()
        return _clip((boxes - shift) / scale, (0, 0), (self.image_width, self.image_height))

    def _scale_and_shift(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        source, target = np.array(self.source), np.array(self.target)
        scale = (target[2:] - target[:2]) / (source[2:] - source[:2])
        shift = target[:2] - source[:2] * scale
        return np.tile(scale, 2).astype(np.float32), np.tile(shift, 2).astype(np.float32)


def place(width: int, height: int, preprocessing: ImagePreprocessing) -> Placement:
    """Place an upright image of ``width x height`` px as ``preprocessing.fit`` says."""
    row_width, row_height = preprocessing.width, preprocessing.height
    left, top, target = 0.0, 0.0, (0, 0, row_width, row_height)
    if preprocessing.fit == "crop":
        ratio = min(width / row_width, height / row_height) * preprocessing.crop_share
        # Rounding must not push an edge out of the image.
        left = max(0.0, (width - row_width * ratio) / 2)
        top = max(0.0, (height - row_height * ratio) / 2)
    elif preprocessing.fit in ("letterbox", "pad"):
        scale = _fitting_scale(width, height, preprocessing)
        inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
        x, y = (row_width - inner_width) // 2, (row_height - inner_height) // 2
        target = (x, y, x + inner_width, y + inner_height)
    source = (left, top, width - left, height - top)
    return Placement(width, height, source, target, row_width, row_height)


def choose_bucket(width: int, height: int, buckets: Sequence[ImagePreprocessing]) -> int:
    """The bucket for an upright image: it shrinks the image least; among equals the smallest.

    Args:
        width: of the image, in px.
        height: of the image, in px.
        buckets: the model's preprocessing, with the height and width of each bucket.
    """
    if len(buckets) == 1:
        return 0

    def loss(index: int) -> tuple[float, int]:
        bucket = buckets[index]
        scale = min(1.0, bucket.width / width, bucket.height / height)
        return -scale, bucket.width * bucket.height

    return min(range(len(buckets)), key=loss)


def _fitting_scale(width: int, height: int, preprocessing: ImagePreprocessing) -> float:
    """The factor for an image's sides that makes the whole image fit into the row."""
    scale = min(preprocessing.width / width, preprocessing.height / height)
    return min(1.0, scale) if preprocessing.fit == "pad" else scale


def _clip(
    boxes: NDArray[np.float32], least: tuple[int, int], most: tuple[int, int]
) -> NDArray[np.float32]:
    low, high = np.array(least * 2, np.float32), np.array(most * 2, np.float32)
    return np.minimum(np.maximum(boxes, low), high)
