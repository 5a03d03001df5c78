"""The RPCs of the protocol, with their types; the generated gRPC stubs have none."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from sightline.v1 import (
    classification_pb2,
    detection_pb2,
    models_pb2,
    segmentation_pb2,
    sequence_pb2,
)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Request, Response]):
    """One RPC: its path, and the messages that go out and come back."""

    path: str
    request: type[Request]
    response: type[Response]


class UnaryRpc(Rpc[Request, Response]):
    """One message out, one back."""


class ServerStreamRpc(Rpc[Request, Response]):
    """One message out, many back."""


class StreamRpc(Rpc[Request, Response]):
    """Many messages out, many back."""


CLASSIFY = UnaryRpc(
    "/sightline.v1.ClassificationService/Classify",
    classification_pb2.ClassifyRequest,
    classification_pb2.ClassifyResponse,
)
CLASSIFY_STREAM = StreamRpc(
    "/sightline.v1.ClassificationService/ClassifyStream",
    classification_pb2.ClassifyStreamRequest,
    classification_pb2.ClassifyStreamResponse,
)
SEGMENT = UnaryRpc(
    "/sightline.v1.SegmentationService/Segment",
    segmentation_pb2.SegmentRequest,
    segmentation_pb2.SegmentResponse,
)
SEGMENT_STREAM = StreamRpc(
    "/sightline.v1.SegmentationService/SegmentStream",
    segmentation_pb2.SegmentStreamRequest,
    segmentation_pb2.SegmentStreamResponse,
)
DETECT = UnaryRpc(
    "/sightline.v1.DetectionService/Detect",
    detection_pb2.DetectRequest,
    detection_pb2.DetectResponse,
)
DETECT_STREAM = StreamRpc(
    "/sightline.v1.DetectionService/DetectStream",
    detection_pb2.DetectStreamRequest,
    detection_pb2.DetectStreamResponse,
)
PREDICT = UnaryRpc(
    "/sightline.v1.SequenceService/Predict",
    sequence_pb2.PredictRequest,
    sequence_pb2.PredictResponse,
)
PREDICT_STREAM = ServerStreamRpc(
    "/sightline.v1.SequenceService/PredictStream",
    sequence_pb2.PredictStreamRequest,
    sequence_pb2.PredictStreamResponse,
)
FOLLOW = StreamRpc(
    "/sightline.v1.SequenceService/Follow",
    sequence_pb2.FollowRequest,
    sequence_pb2.FollowResponse,
)
LIST_MODELS = UnaryRpc(
    "/sightline.v1.ModelService/ListModels",
    models_pb2.ListModelsRequest,
    models_pb2.ListModelsResponse,
)
GET_MODEL = UnaryRpc(
    "/sightline.v1.ModelService/GetModel",
    models_pb2.GetModelRequest,
    models_pb2.GetModelResponse,
)
