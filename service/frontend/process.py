"""A frontend process: the gRPC server that callers reach.

It decodes and answers; it holds no model.

``python -m service.frontend FD``: started by the supervisor, which speaks first, over the socket
``FD``.
"""

import gc
import logging
import os
import socket
import sys
import threading
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service import metrics
from service.addresses import authority
from service.artifact.manifest import Task
from service.devices import use_batch_scheduling
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.endpoints.classification import ClassificationServicer
from service.frontend.endpoints.detection import DetectionServicer
from service.frontend.endpoints.image_request import ImageAsker
from service.frontend.endpoints.models import ModelServicer
from service.frontend.endpoints.segmentation import SegmentationServicer
from service.frontend.endpoints.tensors import TASKS, TensorServicer
from service.frontend.images.decode import ImageLimits
from service.frontend.images.memory import DecodeMemory
from service.frontend.interceptors import Door
from service.frontend.model_repository import ModelRepository
from service.frontend.request_metrics import FLUSH_INTERVAL_S, Tally
from service.frontend.rpc_threads import RpcThreads
from service.frontend.sequence.servicer import SequenceServicer
from service.ipc.arena import Arena
from service.ipc.control import (
    Acknowledged,
    Connect,
    ControlSocket,
    Drain,
    ModelUpdate,
    Serve,
    Start,
    Started,
    meet_supervisor,
)
from service.logs import set_up_logging
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

logger = logging.getLogger(__name__)

_SERVICES = {
    Task.CLASSIFICATION: classification_pb2.DESCRIPTOR.services_by_name[
        "ClassificationService"
    ].full_name,
    Task.SEGMENTATION: segmentation_pb2.DESCRIPTOR.services_by_name[
        "SegmentationService"
    ].full_name,
    Task.DETECTION: detection_pb2.DESCRIPTOR.services_by_name["DetectionService"].full_name,
    Task.SEQUENCE: sequence_pb2.DESCRIPTOR.services_by_name["SequenceService"].full_name,
}
_TENSOR_SERVICE = grpc_predict_v2_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_MODEL_SERVICE = models_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name


def create_server(settings: ServerSettings, door: Door) -> grpc.Server:
    """A gRPC server with the project's options and the door, without servicers and ports.

    Threads, not asyncio: a call costs less (docs/adr/0004-threaded-frontends.md).
    """
    options = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Clients may ping every 10 s; gRPC's own default cuts off those that ping more often than
        # every 300 s.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    threads: Any = RpcThreads()
    return grpc.server(
        threads,
        interceptors=[door],
        options=options,
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
    )


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


class Frontend:
    """Obeys the supervisor until it says so, or is gone."""

    def __init__(self, control: ControlSocket, start: Start, arena: Arena) -> None:
        self._control = control
        self._settings = settings = Settings.model_validate(start.settings)
        self._models = ModelRepository()
        self._tally = Tally()
        door = Door(settings.server.max_request_s, self._tally)
        self._dispatcher = Dispatcher(arena, door.callers)
        self._health = health.HealthServicer()
        self._server = create_server(settings.server, door)
        self._add_servicers()
        open_port(self._server, settings.server, start.port)
        self._is_draining = threading.Event()

    def _add_servicers(self) -> None:
        settings, server = self._settings, self._server
        limits = ImageLimits(
            max_image_bytes=settings.limits.max_image_bytes,
            max_image_pixels=settings.limits.max_image_pixels,
            max_image_side_px=settings.limits.max_image_side_px,
            max_raw_mask_bytes=settings.server.max_message_bytes // 2,
            decode_memory=DecodeMemory(settings.limits.decode_memory_bytes),
        )
        asker = ImageAsker(
            self._dispatcher, limits, settings.limits.max_items_per_request, self._tally
        )
        window = settings.server.stream_window
        stubs: Any = classification_pb2_grpc  # generated without types
        stubs.add_ClassificationServiceServicer_to_server(
            ClassificationServicer(self._models, asker, window), server
        )
        stubs = segmentation_pb2_grpc
        stubs.add_SegmentationServiceServicer_to_server(
            SegmentationServicer(self._models, asker, window), server
        )
        stubs = detection_pb2_grpc
        stubs.add_DetectionServiceServicer_to_server(
            DetectionServicer(self._models, asker, window), server
        )
        stubs = sequence_pb2_grpc
        sequences = SequenceServicer(self._models, self._dispatcher, settings, self._tally)
        stubs.add_SequenceServiceServicer_to_server(sequences, server)
        stubs = grpc_predict_v2_pb2_grpc
        tensors = TensorServicer(self._models, self._dispatcher, settings, self._tally)
        stubs.add_GRPCInferenceServiceServicer_to_server(tensors, server)
        stubs = models_pb2_grpc
        stubs.add_ModelServiceServicer_to_server(ModelServicer(self._models), server)
        stubs = health_pb2_grpc
        stubs.add_HealthServicer_to_server(self._health, server)
        names = (*_SERVICES.values(), _TENSOR_SERVICE, _MODEL_SERVICE, health.SERVICE_NAME)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        self._report_health()

    def run(self) -> None:
        """Serve until told to drain, or until the supervisor is gone."""
        threading.Thread(target=self._report_metrics, name="status", daemon=True).start()
        self._obey()
        # What is under way may still lose its worker, and needs to hear of the next.
        threading.Thread(target=self._obey, name="control", daemon=True).start()
        self._drain()

    def _obey(self) -> None:
        while (received := self._control.receive()) is not None:
            message, fds = received
            if isinstance(message, Connect):
                self._dispatcher.connect(message.peer, socket.socket(fileno=fds[0]))
            elif isinstance(message, ModelUpdate):
                self._apply(message)
                self._control.send(Acknowledged())
            elif isinstance(message, Serve):
                self._serve()
            elif isinstance(message, Drain):
                return

    def _serve(self) -> None:
        self._server.start()
        # What is there now stays: looking through it at each full collection costs calls their
        # time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000)
        self._control.send(Started("frontend"))

    def _apply(self, update: ModelUpdate) -> None:
        self._models.apply(update)
        self._dispatcher.set_workers(update.model_id, update.workers)
        if update.state == "failed":
            self._dispatcher.fail_model(update.model_id, update.reason)
        self._report_health()

    def _report_health(self) -> None:
        """SERVING for each task of which a model can be asked; and over all when there is any."""
        serving, not_serving = (
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.NOT_SERVING,
        )
        ready = self._models.tasks()
        for task, service in _SERVICES.items():
            self._health.set(service, serving if ready.get(task) else not_serving)
        takes_tensors = any(map(ready.get, TASKS))
        self._health.set(_TENSOR_SERVICE, serving if takes_tensors else not_serving)
        self._health.set(_MODEL_SERVICE, serving)
        self._health.set("", serving if any(ready.values()) else not_serving)

    def _report_metrics(self) -> None:
        while not self._is_draining.wait(FLUSH_INTERVAL_S):
            self._tally.flush()
            metrics.SLOTS_IN_USE.set(self._dispatcher.slots.slots_in_use)
            metrics.SLOT_BYTES_IN_USE.set(self._dispatcher.slots.used_bytes)

    def _drain(self) -> None:
        """NOT_SERVING, accept nothing new, let what is under way finish."""
        self._health.enter_graceful_shutdown()
        grace_s = self._settings.server.drain_timeout_s
        logger.info("draining, for at most %.0f s", grace_s)
        self._server.stop(grace_s).wait()
        self._is_draining.set()
        self._tally.flush()


def main() -> None:
    """Body of the process."""
    control, start, (arena_fd,) = meet_supervisor(int(sys.argv[1]))
    set_up_logging(Settings.model_validate(start.settings).log, start.name)
    use_batch_scheduling()
    arena = Arena.attach(arena_fd)
    os.close(arena_fd)
    Frontend(control, start, arena).run()
