"""The answer of a segmentation model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.results.coco_rle import encode_rle
from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Timing


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """All pixels of one class."""

    label: str
    index: int
    """The class's number, as the mask holds it."""
    pixel_count: int
    """1 and up."""
    share: float
    """Its share of the mask, 0..1."""
    mean_score: float
    """Mean probability of the class over its pixels, 0..1."""
    polygons: tuple[NDArray[np.float32], ...]
    """Its outlines, with ``polygons=True``: ``[K, 2]`` x, y in pixels of the mask. Each is closed:
    the last corner joins the first."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The class of each pixel of one image."""

    mask: NDArray[np.uint8]
    """``[H, W]``: the class of each pixel, at the size of the image after EXIF rotation; with
    ``mask_size="model"`` at the size of the network's output."""
    regions: tuple[Region, ...]
    """The classes that occur, largest first."""
    score_maps: Mapping[str, NDArray[np.uint8]]
    """For each label in ``score_maps=``, ``[H, W]``: ``map / 255`` is its probability."""
    overlay_png: bytes
    """A PNG file of the image with the mask over it; empty without ``overlay=True``."""
    palette: NDArray[np.uint8]
    """``[K, 3]``: the RGB colour of each class in the server's pictures."""
    model: ModelIdentity
    timing: Timing

    def where(self, label: str) -> NDArray[np.bool_]:
        """``[H, W]``: the pixels of one class; all False where it does not occur."""
        for region in self.regions:
            if region.label == label:
                return self.mask == region.index
        return np.zeros(self.mask.shape, np.bool_)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results, one for each class that occurs: for ``json.dump`` and COCO's own tools.

        Args:
            image_id: the image's number in the caller's data set; ``category_id`` is the class's
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
