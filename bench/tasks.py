"""How each task's endpoint is asked, and how a right response is recognised."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from service.artifact.manifest import Task
from sightline.v1 import (
    classification_pb2,
    classification_pb2_grpc,
    detection_pb2,
    detection_pb2_grpc,
    segmentation_pb2,
    segmentation_pb2_grpc,
)

TOP_K = 5


@dataclass(frozen=True)
class Endpoint:
    """One of the endpoints that read images."""

    service: str
    method: str
    request: Callable[..., Any]
    """Makes the message of a call."""
    stream_request: Callable[..., Any]
    stub: Callable[..., Any]
    is_right: Callable[[Any], bool]
    """Whether one item's result is right."""

    def path(self, *, is_stream: bool) -> str:
        """The path of the HTTP/2 request."""
        return f"/sightline.v1.{self.service}/{self.method}{'Stream' if is_stream else ''}"


def _has_labels(result: classification_pb2.ClassifyResult) -> bool:
    scores = [label.score for label in result.classification.labels]
    return len(scores) == TOP_K and scores == sorted(scores, reverse=True)


def _has_mask(result: segmentation_pb2.SegmentResult) -> bool:
    answer = result.segmentation
    pixels = sum(region.pixel_count for region in answer.regions)
    return bool(answer.mask) and pixels == answer.height * answer.width


def _has_boxes(result: detection_pb2.DetectResult) -> bool:
    scores = [detection.score for detection in result.detections.detections]
    return result.WhichOneof("outcome") == "detections" and scores == sorted(scores, reverse=True)


ENDPOINTS: Mapping[Task, Endpoint] = MappingProxyType(
    {
        Task.CLASSIFICATION: Endpoint(
            "ClassificationService",
            "Classify",
            lambda **fields: classification_pb2.ClassifyRequest(top_k=TOP_K, **fields),
            classification_pb2.ClassifyStreamRequest,
            classification_pb2_grpc.ClassificationServiceStub,
            _has_labels,
        ),
        Task.SEGMENTATION: Endpoint(
            "SegmentationService",
            "Segment",
            segmentation_pb2.SegmentRequest,
            segmentation_pb2.SegmentStreamRequest,
            segmentation_pb2_grpc.SegmentationServiceStub,
            _has_mask,
        ),
        Task.DETECTION: Endpoint(
            "DetectionService",
            "Detect",
            detection_pb2.DetectRequest,
            detection_pb2.DetectStreamRequest,
            detection_pb2_grpc.DetectionServiceStub,
            _has_boxes,
        ),
    }
)
