"""What tests call a real server through."""

import grpc

from sightline.v1 import (
    classification_pb2_grpc,
    detection_pb2_grpc,
    models_pb2_grpc,
    segmentation_pb2_grpc,
    sequence_pb2_grpc,
)


class Stubs:
    """A channel to a server, and its services."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.classification = classification_pb2_grpc.ClassificationServiceStub(channel)
        self.segmentation = segmentation_pb2_grpc.SegmentationServiceStub(channel)
        self.detection = detection_pb2_grpc.DetectionServiceStub(channel)
        self.models = models_pb2_grpc.ModelServiceStub(channel)
        self.sequences = sequence_pb2_grpc.SequenceServiceStub(channel)
