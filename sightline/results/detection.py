"""The answer of a detection model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.results.coco_rle import decode_rle
from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Timing

_COCO_VISIBLE = 2


@dataclass(frozen=True, slots=True)
class Keypoint:
    """A named point of an object, such as a wrist."""

    name: str
    x: float
    y: float
    """In pixels of the image."""
    score: float
    """How sure the model is that the point is visible there, 0..1."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One object that was found."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2: left, top, right and bottom edge in pixels of the image."""
    label: str
    index: int
    """The class's place in the model's output."""
    score: float
    """How sure the model is, 0..1."""
    image_size: tuple[int, int]
    """H, W of the image after EXIF rotation."""
    mask_rle: bytes
    """The object's pixels as COCO's run-length string; empty for models without masks."""
    keypoints: tuple[Keypoint, ...]
    """In the order of the artifact; empty for models without keypoints."""

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """``[H, W]``: the object's pixels, decoded at each access; None for models without masks.

        Raises:
            ValueError: the server sent no valid mask for this image.
        """
        if not self.mask_rle:
            return None
        height, width = self.image_size
        return decode_rle(self.mask_rle, height=height, width=width)

    def to_coco(self, image_id: int) -> dict[str, Any]:
        """One COCO result; see ``Detections.to_coco``."""
        x1, y1, x2, y2 = self.box
        result: dict[str, Any] = {
            "image_id": image_id,
            "category_id": self.index,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": self.score,
        }
        if self.mask_rle:
            counts = self.mask_rle.decode("ascii")
            result["segmentation"] = {"size": list(self.image_size), "counts": counts}
        if self.keypoints:
            points = ((point.x, point.y, _COCO_VISIBLE) for point in self.keypoints)
            result["keypoints"] = [value for point in points for value in point]
        return result


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects in one image."""

    detections: tuple[Detection, ...]
    """Best first; empty when nothing scores high enough."""
    image_size: tuple[int, int]
    """H, W of the image after EXIF rotation; the boxes are in its pixels."""
    model: ModelIdentity
    timing: Timing

    @property
    def boxes(self) -> NDArray[np.float32]:
        """``[N, 4]``: x1, y1, x2, y2 in pixels of the image, best first."""
        boxes = [found.box for found in self.detections]
        return np.array(boxes, np.float32).reshape(-1, 4)

    @property
    def scores(self) -> NDArray[np.float32]:
        """``[N]``, 0..1."""
        return np.array([found.score for found in self.detections], np.float32)

    @property
    def labels(self) -> tuple[str, ...]:
        """``[N]``."""
        return tuple(found.label for found in self.detections)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results, one for each object: for ``json.dump`` and COCO's own tools.

        Args:
            image_id: the image's number in the caller's data set; ``category_id`` is the class's
                index in the model's labels, and a box is x, y, width, height.
        """
        return [found.to_coco(image_id) for found in self.detections]
