"""The transport ceiling, the frontend's own gRPC server: ``python -m bench.constant_server PORT``.

It answers with a constant, without decoding, channel or model: the cost of a call alone.
"""

import gc
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import grpc

from service.frontend.interceptors import CallInterceptor
from service.frontend.request_metrics import RequestMetrics
from service.frontend.server import create_server, open_port
from service.settings import ServerSettings
from sightline.v1 import classification_pb2, detection_pb2, models_pb2, segmentation_pb2

MASK_BYTES = 6000
"""Size of a photograph's mask as a PNG file."""


def _labels() -> classification_pb2.ClassifyResult:
    """As large as a real answer: five labels."""
    labels = [
        classification_pb2.Label(name=f"class-{i:04}", index=i, score=0.2) for i in range(1, 6)
    ]
    answer = classification_pb2.Classification(labels=labels)
    return classification_pb2.ClassifyResult(classification=answer)


def _mask() -> segmentation_pb2.SegmentResult:
    """A photograph's mask of one class."""
    region = segmentation_pb2.Region(label="sky", index=1, pixel_count=375 * 500, share=1)
    answer = segmentation_pb2.Segmentation(
        mask=bytes(MASK_BYTES), regions=[region], height=375, width=500
    )
    return segmentation_pb2.SegmentResult(segmentation=answer)


def _boxes() -> detection_pb2.DetectResult:
    """A few boxes."""
    box = detection_pb2.Box(x1=1, y1=2, x2=3, y2=4)
    found = [detection_pb2.Detection(box=box, label="cell", score=0.5)] * 5
    answer = detection_pb2.Detections(detections=found, image_height=375, image_width=500)
    return detection_pb2.DetectResult(detections=answer)


class Constant:
    """One endpoint that gives every request the same answer."""

    def __init__(self, proto: Any, service: str, method: str, result: Any) -> None:
        self._response = getattr(proto, f"{method}Response")
        self._stream_response = getattr(proto, f"{method}StreamResponse")
        self._result = result
        self.answer_of = cache(self._answer_of)
        requests = {"": f"{method}Request", "Stream": f"{method}StreamRequest"}
        plain, stream = (getattr(proto, name).FromString for name in requests.values())
        serialise = self._response.SerializeToString
        serialise_each = self._stream_response.SerializeToString
        methods = {
            method: grpc.unary_unary_rpc_method_handler(self.call, plain, serialise),
            f"{method}Stream": grpc.stream_stream_rpc_method_handler(
                self.stream, stream, serialise_each
            ),
        }
        self.handlers = grpc.method_handlers_generic_handler(f"sightline.v1.{service}", methods)

    def _answer_of(self, items: int) -> Any:
        identity = models_pb2.ModelIdentity(name="constant", version=1, artifact_sha256="0" * 64)
        timing = models_pb2.Timing(queue_seconds=1e-3, run_seconds=1e-3, total_seconds=2e-3)
        return self._response(results=[self._result] * items, model=identity, timing=timing)

    def call(self, request: Any, context: grpc.ServicerContext) -> Any:
        """One result an image."""
        return self.answer_of(len(request.images))

    def stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """One answer a message."""
        for each in requests:
            answer = self.answer_of(len(each.request.images))
            yield self._stream_response(id=each.id, response=answer)


ENDPOINTS = (
    Constant(classification_pb2, "ClassificationService", "Classify", _labels()),
    Constant(segmentation_pb2, "SegmentationService", "Segment", _mask()),
    Constant(detection_pb2, "DetectionService", "Detect", _boxes()),
)


def main(port: str) -> None:
    settings = ServerSettings()
    server = create_server(settings, CallInterceptor(settings.max_request_s, RequestMetrics()))
    server.add_generic_rpc_handlers(tuple(endpoint.handlers for endpoint in ENDPOINTS))
    open_port(server, settings, int(port))
    server.start()
    gc.collect()
    gc.freeze()  # as the frontend does
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
