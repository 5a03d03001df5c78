"""A worker process: one device, the models on it, and the queues for them.

The supervisor starts it as ``python -m service.worker FD`` and sends the first message over the
socket ``FD``.
"""

import logging
import os
import socket
import sys
import threading

from service.devices import Device, use_batch_scheduling
from service.ipc.arena import Arena
from service.ipc.control import (
    Connect,
    ControlSocket,
    Drain,
    Load,
    Loaded,
    LoadFailed,
    Start,
    Started,
    meet_supervisor,
)
from service.logs import set_up_logging
from service.settings import Settings
from service.worker.frontend_link import FrontendLink
from service.worker.model_thread import ModelThread
from service.worker.scheduler import Scheduler
from service.worker.session import SessionOptions


class Worker:
    """Obeys the supervisor until it is told to drain, or the supervisor is gone."""

    def __init__(self, control: ControlSocket, start: Start) -> None:
        self._control = control
        self._send_lock = threading.Lock()
        self._settings = Settings.model_validate(start.settings)
        device = Device.parse(start.device)
        self._options = SessionOptions.of(self._settings, device, start.intra_op_threads)
        self._scheduler = Scheduler()
        self._model_threads: list[ModelThread] = []

    def run(self) -> None:
        """Run until told to drain; the supervisor says so when no frontend is left."""
        while (received := self._control.receive()) is not None:
            message, fds = received
            if isinstance(message, Connect):
                doorbell_fd, arena_fd = fds
                arena = Arena.attach(arena_fd)
                os.close(arena_fd)
                FrontendLink(
                    message.peer,
                    socket.socket(fileno=doorbell_fd),
                    arena,
                    self._scheduler,
                    self._settings.batching.max_queue_delay_s,
                )
            elif isinstance(message, Load):
                self._load(message)
            elif isinstance(message, Drain):
                break
        self._scheduler.close_all()
        for model_thread in self._model_threads:
            if model_thread.has_loaded:  # one that is still loading has no caller
                model_thread.thread.join(timeout=self._settings.server.drain_timeout_s)

    def _load(self, order: Load) -> None:
        model_thread = ModelThread(
            order,
            self._options,
            self._scheduler,
            self._settings.batching.queue_capacity,
            self._settings.workers.calibration_s,
            self._settings.decoding,
            self._report,
        )
        self._model_threads.append(model_thread)
        model_thread.thread.start()

    def _report(self, message: Loaded | LoadFailed) -> None:
        with self._send_lock:
            self._control.send(message)


def main() -> None:
    """Body of the process."""
    control, start, _ = meet_supervisor(int(sys.argv[1]))
    set_up_logging(Settings.model_validate(start.settings).log, start.name)
    use_batch_scheduling()
    worker = Worker(control, start)
    control.send(Started(start.name))
    worker.run()
    # It does not return: to destroy a session that runs, or is being loaded, crashes the process.
    logging.shutdown()
    os._exit(0)
