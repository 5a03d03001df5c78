"""A frontend process: the gRPC server that clients call.

It decodes requests and encodes responses; it holds no model.

``python -m service.frontend FD``: started by the supervisor, which sends the first message over the
socket ``FD``.
"""

import gc
import logging
import os
import socket
import sys
import threading

from grpc_health.v1 import health_pb2

from service import metrics
from service.devices import use_batch_scheduling
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.endpoints.tensors import TASKS
from service.frontend.interceptors import CallInterceptor
from service.frontend.model_repository import ModelRepository
from service.frontend.request_metrics import FLUSH_INTERVAL_S, RequestMetrics
from service.frontend.server import (
    MODEL_SERVICE,
    TASK_SERVICES,
    TENSOR_SERVICE,
    add_servicers,
    create_server,
    open_port,
)
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
from service.settings import Settings

logger = logging.getLogger(__name__)


class Frontend:
    """Serves until the supervisor tells it to drain, or is gone."""

    def __init__(self, control: ControlSocket, start: Start, arena: Arena) -> None:
        self._control = control
        self._settings = settings = Settings.model_validate(start.settings)
        self._models = ModelRepository(settings.repository.required)
        self._request_metrics = RequestMetrics()
        interceptor = CallInterceptor(settings.server.max_request_s, self._request_metrics)
        self._dispatcher = Dispatcher(arena, interceptor.concurrent_requests)
        self._server = create_server(settings.server, interceptor)
        self._health = add_servicers(
            self._server, settings, self._models, self._dispatcher, self._request_metrics
        )
        self._report_health()
        open_port(self._server, settings.server, start.port)
        self._is_draining = threading.Event()

    def run(self) -> None:
        """Serve until told to drain, or until the supervisor is gone."""
        threading.Thread(target=self._report_metrics, name="status", daemon=True).start()
        self._obey()
        # Requests in flight may still lose their worker, and then need the next one's connection.
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
        # The objects that exist now stay alive: without freezing, each full collection would
        # traverse them and delay calls.
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
        """A service is SERVING if a model of it is ready, and none that is required is not."""
        serving, not_serving = (
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.NOT_SERVING,
        )
        ready = self._models.tasks()
        for task, service in TASK_SERVICES.items():
            self._health.set(service, serving if ready.get(task) else not_serving)
        takes_tensors = any(map(ready.get, TASKS))
        self._health.set(TENSOR_SERVICE, serving if takes_tensors else not_serving)
        self._health.set(MODEL_SERVICE, serving)
        self._health.set("", serving if self._models.is_ready() else not_serving)

    def _report_metrics(self) -> None:
        while not self._is_draining.wait(FLUSH_INTERVAL_S):
            self._request_metrics.flush()
            metrics.SLOTS_IN_USE.set(self._dispatcher.slots.slots_in_use)
            metrics.SLOT_BYTES_IN_USE.set(self._dispatcher.slots.used_bytes)

    def _drain(self) -> None:
        """Report NOT_SERVING, accept no new call, and let calls in flight finish."""
        self._health.enter_graceful_shutdown()
        grace_s = self._settings.server.drain_timeout_s
        logger.info("draining, for at most %.0f s", grace_s)
        self._server.stop(grace_s).wait()
        self._is_draining.set()
        self._request_metrics.flush()


def main() -> None:
    """Body of the process."""
    control, start, (arena_fd,) = meet_supervisor(int(sys.argv[1]))
    set_up_logging(Settings.model_validate(start.settings).log, start.name)
    use_batch_scheduling()
    arena = Arena.attach(arena_fd)
    os.close(arena_fd)
    Frontend(control, start, arena).run()
