"""The gRPC server of a frontend: its options, its port and its servicers."""

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from service.addresses import authority
from service.artifact.manifest import Task
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.endpoints.classification import ClassificationServicer
from service.frontend.endpoints.detection import DetectionServicer
from service.frontend.endpoints.image_request import ImageRequests
from service.frontend.endpoints.models import ModelServicer
from service.frontend.endpoints.segmentation import SegmentationServicer
from service.frontend.endpoints.tensors import TensorServicer
from service.frontend.images.decode import ImageLimits
from service.frontend.images.memory import DecodeMemory
from service.frontend.interceptors import CallInterceptor
from service.frontend.model_repository import ModelRepository
from service.frontend.reflection import enable_reflection
from service.frontend.request_metrics import RequestMetrics
from service.frontend.rpc_threads import RpcThreads
from service.frontend.sequence.servicer import SequenceServicer
from service.settings import ServerSettings, Settings
from sightline.inference import grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc
from sightline.v1 import (
    classification_pb2,
    classification_pb2_grpc,
    detection_pb2,
    detection_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    segmentation_pb2,
    segmentation_pb2_grpc,
    sequence_pb2,
    sequence_pb2_grpc,
)

TASK_SERVICES = {
    Task.CLASSIFICATION: classification_pb2.DESCRIPTOR.services_by_name[
        "ClassificationService"
    ].full_name,
    Task.SEGMENTATION: segmentation_pb2.DESCRIPTOR.services_by_name[
        "SegmentationService"
    ].full_name,
    Task.DETECTION: detection_pb2.DESCRIPTOR.services_by_name["DetectionService"].full_name,
    Task.SEQUENCE: sequence_pb2.DESCRIPTOR.services_by_name["SequenceService"].full_name,
}
TENSOR_SERVICE = grpc_predict_v2_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
MODEL_SERVICE = models_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name


def create_server(settings: ServerSettings, interceptor: CallInterceptor) -> grpc.Server:
    """A gRPC server with the project's options and the interceptor, without servicers and ports.

    It uses threads, not asyncio: a call costs less (docs/adr/0004-threaded-frontends.md).
    """
    threads: Any = RpcThreads()
    return grpc.server(
        threads,
        interceptors=[interceptor],
        options=server_options(settings),
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
    )


def server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """The channel arguments of the server; gRPC ignores names that it does not know."""
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Between the two limits, gRPC refuses some calls and lets others pass, by chance.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        # Pings never end a connection. By default, gRPC disconnects a client at its third ping that
        # comes within 300 s (without calls: 2 h) of another while no data is sent, so silent
        # streams would not last. A ping costs less than any other frame that a client may send.
        ("grpc.http2.max_ping_strikes", 0),
    ]


def open_port(server: grpc.Server, settings: ServerSettings, port: int) -> None:
    """Listen on the port that all frontends share, with TLS if it is configured."""
    address = authority(settings.host, port)
    if settings.tls_certificate and settings.tls_key:
        client_ca = settings.tls_client_ca
        credentials = grpc.ssl_server_credentials(
            [(settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())],
            root_certificates=client_ca.read_bytes() if client_ca else None,
            require_client_auth=client_ca is not None,
        )
        server.add_secure_port(address, credentials)
    else:
        server.add_insecure_port(address)


def add_servicers(
    server: grpc.Server,
    settings: Settings,
    models: ModelRepository,
    dispatcher: Dispatcher,
    request_metrics: RequestMetrics,
) -> health.HealthServicer:
    """Register every service, and reflection; returns the servicer of the health service."""
    limits = ImageLimits(
        max_image_bytes=settings.limits.max_image_bytes,
        max_image_pixels=settings.limits.max_image_pixels,
        max_image_side_px=settings.limits.max_image_side_px,
        max_raw_mask_bytes=settings.server.max_message_bytes // 2,
        decode_memory=DecodeMemory(settings.limits.decode_memory_bytes),
    )
    image_requests = ImageRequests(
        dispatcher, limits, settings.limits.max_items_per_request, request_metrics
    )
    window = settings.server.stream_window
    stubs: Any = classification_pb2_grpc  # generated without types
    stubs.add_ClassificationServiceServicer_to_server(
        ClassificationServicer(models, image_requests, window), server
    )
    stubs = segmentation_pb2_grpc
    stubs.add_SegmentationServiceServicer_to_server(
        SegmentationServicer(models, image_requests, window), server
    )
    stubs = detection_pb2_grpc
    stubs.add_DetectionServiceServicer_to_server(
        DetectionServicer(models, image_requests, window), server
    )
    stubs = sequence_pb2_grpc
    sequences = SequenceServicer(models, dispatcher, settings, request_metrics)
    stubs.add_SequenceServiceServicer_to_server(sequences, server)
    stubs = grpc_predict_v2_pb2_grpc
    tensors = TensorServicer(models, dispatcher, settings, request_metrics)
    stubs.add_GRPCInferenceServiceServicer_to_server(tensors, server)
    stubs = models_pb2_grpc
    stubs.add_ModelServiceServicer_to_server(ModelServicer(models), server)
    health_servicer = health.HealthServicer()
    stubs = health_pb2_grpc
    stubs.add_HealthServicer_to_server(health_servicer, server)
    names = (*TASK_SERVICES.values(), TENSOR_SERVICE, MODEL_SERVICE, health.SERVICE_NAME)
    enable_reflection(names, server)
    return health_servicer
