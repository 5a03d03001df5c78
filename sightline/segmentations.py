"""What a user gets back when each pixel of a photo has been given a class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.answers import ModelIdentity, Timing
from sightline.coco_rle import encode_rle


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """All pixels of one class."""

    label: str
    index: int
    """The class's number, as the mask holds it."""
    pixel_count: int
    """1 and up."""
    share: float
    """Of the mask, 0..1."""
    mean_score: float
    """Mean probability of the class over its pixels, 0..1."""
    polygons: tuple[NDArray[np.float32], ...]
    """Its outlines, if ``polygons=True`` was asked for: ``[K, 2]`` x, y in pixels of the mask, each
    closed from its last corner to its first."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What each pixel of one photo belongs to."""

    mask: NDArray[np.uint8]
    """``[H, W]``: the class of each pixel, at the size of the photo after EXIF rotation, or at the
    network's with ``mask_size="model"``."""
    regions: tuple[Region, ...]
    """The classes that occur, largest first."""
    score_maps: Mapping[str, NDArray[np.uint8]]
    """For each label in ``score_maps=``, ``[H, W]``: ``map / 255`` is its probability."""
    overlay_png: bytes
    """A PNG file of the photo with the mask over it; empty without ``overlay=True``."""
    palette: NDArray[np.uint8]
    """``[K, 3]``: the colour, RGB, that the server's pictures give each class."""
    model: ModelIdentity
    timing: Timing

    def where(self, label: str) -> NDArray[np.bool_]:
        """``[H, W]``: the pixels of one class; none where it does not occur."""
        for region in self.regions:
            if region.label == label:
                return self.mask == region.index
        return np.zeros(self.mask.shape, np.bool_)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results, one a class that occurs, for ``json.dump`` and COCO's own tools.

        Args:
            image_id: the photo's number in the caller's data set; ``category_id`` is the class's
                index in the model's labels.
        """
        height, width = self.mask.shape
        return [
            {
                "image_id": image_id,
                "category_id": region.index,
                "segmentation": {
                    "size": [height, width],
                    "counts": encode_rle(self.mask == region.index).decode("ascii"),
                },
                "score": region.mean_score,
            }
            for region in self.regions
        ]
