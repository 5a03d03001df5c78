"""The queries about images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from sightline.requests.images import image_from
from sightline.requests.query import StreamQuery, check_range
from sightline.results.classification import Classification
from sightline.results.detection import Detections
from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Answer, Timing
from sightline.results.read_images import (
    read_classification,
    read_detections,
    read_segmentation,
)
from sightline.results.segmentation import Segmentation
from sightline.rpcs import (
    CLASSIFY,
    CLASSIFY_STREAM,
    DETECT,
    DETECT_STREAM,
    SEGMENT,
    SEGMENT_STREAM,
)
from sightline.v1.classification_pb2 import ClassifyRequest, ClassifyResult
from sightline.v1.detection_pb2 import Box, DetectRequest, DetectResult, Proposals
from sightline.v1.image_pb2 import Image
from sightline.v1.segmentation_pb2 import (
    MASK_ENCODING_PNG,
    SegmentRequest,
    SegmentResult,
)

MaskSizeName = Literal["original", "model"]
SuppressionName = Literal["per_class", "class_agnostic", "soft"]
DEFAULT_MAX_DETECTIONS = 100
"""The server's default, for each image."""
_LARGEST_COUNT = (1 << 32) - 1


class ImageQuery(StreamQuery[Answer]):
    """A query about images."""

    item_name: ClassVar[str] = "images"
    reads_files: ClassVar[bool] = True

    def item(self, given: Any, *, max_bytes: int) -> Image:
        """The message for one image."""
        return image_from(given, max_bytes=max_bytes)


@dataclass(frozen=True, kw_only=True)
class ClassifyQuery(ImageQuery[Classification]):
    """Which labels fit the image?"""

    rpc = CLASSIFY
    stream_rpc: ClassVar = CLASSIFY_STREAM

    top_k: int | None = None
    score_threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k is not None and not 1 <= self.top_k <= _LARGEST_COUNT:
            raise ValueError(f"top_k is 1 to the model's number of classes, not {self.top_k}")
        check_range("score_threshold", self.score_threshold, 0.0, 1.0)

    def request(self, items: Sequence[Image]) -> ClassifyRequest:
        """The request for these images."""
        return ClassifyRequest(
            model=self.selector(),
            images=items,
            top_k=self.top_k,
            score_threshold=self.score_threshold,
        )

    def answer(
        self, result: ClassifyResult, model: ModelIdentity, timing: Timing
    ) -> Classification:
        """The labels of one image."""
        return read_classification(result.classification, model, timing)


@dataclass(frozen=True, kw_only=True)
class SegmentQuery(ImageQuery[Segmentation]):
    """Which class has each pixel? Masks are sent as PNG, the smallest encoding."""

    rpc: ClassVar = SEGMENT
    stream_rpc: ClassVar = SEGMENT_STREAM
    is_slow_to_read: ClassVar[bool] = True

    mask_size: MaskSizeName = "original"
    score_maps: Sequence[str] = ()
    overlay: bool = False
    polygons: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("mask_size", self.mask_size, get_args(MaskSizeName))
        _check_labels("score_maps", self.score_maps)

    def request(self, items: Sequence[Image]) -> SegmentRequest:
        """The request for these images."""
        return SegmentRequest(
            model=self.selector(),
            images=items,
            mask_encoding=MASK_ENCODING_PNG,
            mask_size=f"MASK_SIZE_{self.mask_size.upper()}",
            score_map_labels=self.score_maps,
            include_overlay=self.overlay,
            include_polygons=self.polygons,
        )

    def answer(self, result: SegmentResult, model: ModelIdentity, timing: Timing) -> Segmentation:
        """The mask of one image."""
        return read_segmentation(result.segmentation, model, timing)


@dataclass(frozen=True, kw_only=True)
class DetectQuery(ImageQuery[Detections]):
    """Which objects are where?"""

    rpc: ClassVar = DETECT
    stream_rpc: ClassVar = DETECT_STREAM

    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    classes: Sequence[str] = ()
    suppression: SuppressionName = "per_class"
    proposals: ArrayLike | None = None
    """``[P, 4]``; for one image only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("score_threshold", self.score_threshold, 0.0, 1.0)
        check_range("iou_threshold", self.iou_threshold, 0.0, 1.0)
        check_range("max_detections", self.max_detections, 1, 1000)
        _check_choice("suppression", self.suppression, get_args(SuppressionName))
        _check_labels("classes", self.classes)
        self._proposals()

    def request(self, items: Sequence[Image]) -> DetectRequest:
        """The request for these images."""
        return DetectRequest(
            model=self.selector(),
            images=items,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
            labels=self.classes,
            suppression=f"SUPPRESSION_{self.suppression.upper()}",
            proposals=self._proposals(),
        )

    def answer(self, result: DetectResult, model: ModelIdentity, timing: Timing) -> Detections:
        """The boxes of one image."""
        return read_detections(result.detections, model, timing)

    def _proposals(self) -> list[Proposals]:
        if self.proposals is None:
            return []
        boxes = np.asarray(self.proposals, np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
            raise ValueError(f"proposals are [P, 4] x1, y1, x2, y2, not {list(boxes.shape)}")
        return [Proposals(boxes=[Box(x1=a, y1=b, x2=c, y2=d) for a, b, c, d in boxes.tolist()])]


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")


def _check_labels(name: str, labels: Sequence[str]) -> None:
    if isinstance(labels, str):  # a string is a sequence of strings, too, but hardly meant
        raise TypeError(f"{name} is a sequence of labels: pass [{labels!r}]")
