"""A segmentation and a detection service on loopback whose answers are written out here."""

from io import BytesIO
from typing import Any

import grpc
import numpy as np
from PIL import Image

from sightline.v1 import (
    detection_pb2,
    detection_pb2_grpc,
    models_pb2,
    segmentation_pb2,
    segmentation_pb2_grpc,
)

IDENTITY = models_pb2.ModelIdentity(name="streets", version=2, artifact_sha256="cd" * 32)
TIMING = models_pb2.Timing(total_seconds=0.01, batch_size=2, device="cpu")
MASK = np.array([[0, 0, 7], [0, 7, 7]], np.uint8)
THING = np.array([[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], np.uint8)


def png(pixels: np.ndarray, palette: bytes = b"") -> bytes:
    image, file = Image.fromarray(pixels), BytesIO()
    if palette:
        image.putpalette(palette.ljust(768, b"\0"))
    image.save(file, "PNG", bits=8)
    return file.getvalue()


class Pictures(
    segmentation_pb2_grpc.SegmentationServiceServicer,
    detection_pb2_grpc.DetectionServiceServicer,
):
    """Answers each photo with what it was told to, and one that begins with `bad` with an error."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.segmentation = segmentation_pb2.Segmentation(
            height=2,
            width=3,
            mask_encoding=segmentation_pb2.MASK_ENCODING_PNG,
            mask=png(MASK, bytes(21) + b"\x01\x02\x03"),
            regions=[
                {"label": "sky", "index": 0, "pixel_count": 3, "share": 0.5, "mean_score": 0.75},
                {"label": "car", "index": 7, "pixel_count": 3, "share": 0.5, "mean_score": 0.5},
            ],
        )
        self.detections = detection_pb2.Detections(
            image_height=3,
            image_width=4,
            detections=[
                {"box": {"x1": 1, "y1": 0, "x2": 3, "y2": 2}, "label": "car", "index": 7},
                {"box": {"x1": 0.5, "y1": 1, "x2": 4, "y2": 3}, "label": "cup", "index": 1},
            ],
        )
        self.detections.detections[0].score = 0.75
        self.detections.detections[1].score = 0.25

    def Segment(self, request, context):
        return self._answer(request, segmentation_pb2.SegmentResponse, context)

    def Detect(self, request, context):
        return self._answer(request, detection_pb2.DetectResponse, context)

    def SegmentStream(self, request_iterator, context):
        for message in request_iterator:
            response = self._answer(message.request, segmentation_pb2.SegmentResponse)
            yield segmentation_pb2.SegmentStreamResponse(id=message.id, response=response)

    def DetectStream(self, request_iterator, context):
        for message in request_iterator:
            response = self._answer(message.request, detection_pb2.DetectResponse)
            yield detection_pb2.DetectStreamResponse(id=message.id, response=response)

    def _answer(self, request, kind, context=None):
        self.requests.append(request)
        response = kind(model=IDENTITY, timing=TIMING)
        for image in request.images:
            result = response.results.add()
            if image.encoded.startswith(b"bad"):
                result.error.CopyFrom(models_pb2.ItemError(code=3, message="no image"))
            elif hasattr(result, "segmentation"):
                result.segmentation.CopyFrom(self.segmentation)
            else:
                result.detections.CopyFrom(self.detections)
        if context and all(result.HasField("error") for result in response.results):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no image")
        return response

    def add_to(self, server: grpc.Server) -> None:
        segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server(self, server)
        detection_pb2_grpc.add_DetectionServiceServicer_to_server(self, server)
