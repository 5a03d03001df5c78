"""The RPCs the clients make, typed; both kinds of channel open them.

The generated stubs carry no types, and there is one class for both kinds of channel.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import grpc.aio
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
class UnaryRpc(Generic[Request, Response]):
    """One message out, one back."""

    path: str
    request: type[Request]
    response: type[Response]

    def on(self, channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[Request, Response]:
        """The callable that makes it."""
        return channel.unary_unary(
            self.path, self.request.SerializeToString, self.response.FromString
        )

    def on_aio(
        self, channel: grpc.aio.Channel
    ) -> grpc.aio.UnaryUnaryMultiCallable[Request, Response]:
        """The same on an asyncio channel."""
        return channel.unary_unary(
            self.path, self.request.SerializeToString, self.response.FromString
        )


@dataclass(frozen=True, slots=True)
class ServerStreamRpc(Generic[Request, Response]):
    """One message out, many back."""

    path: str
    request: type[Request]
    response: type[Response]

    def on(self, channel: grpc.Channel) -> grpc.UnaryStreamMultiCallable[Request, Response]:
        """The callable that opens it."""
        return channel.unary_stream(
            self.path, self.request.SerializeToString, self.response.FromString
        )

    def on_aio(
        self, channel: grpc.aio.Channel
    ) -> grpc.aio.UnaryStreamMultiCallable[Request, Response]:
        """The same on an asyncio channel."""
        return channel.unary_stream(
            self.path, self.request.SerializeToString, self.response.FromString
        )


@dataclass(frozen=True, slots=True)
class StreamRpc(Generic[Request, Response]):
    """Many messages out, many back."""

    path: str
    request: type[Request]
    response: type[Response]

    def on(self, channel: grpc.Channel) -> grpc.StreamStreamMultiCallable[Request, Response]:
        """The callable that opens it."""
        return channel.stream_stream(
            self.path, self.request.SerializeToString, self.response.FromString
        )

    def on_aio(
        self, channel: grpc.aio.Channel
    ) -> grpc.aio.StreamStreamMultiCallable[Request, Response]:
        """The same on an asyncio channel."""
        return channel.stream_stream(
            self.path, self.request.SerializeToString, self.response.FromString
        )


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
