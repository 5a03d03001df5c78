"""A worker process: one device, its models, its queue.

``python -m service.worker FD``: started by the supervisor, which speaks first, over the socket
``FD``.
"""

import logging
import os
import socket
import sys
import threading
import time

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
from service.ipc.doorbell import Cancel, Outcome, more_expected, pack_outcomes, unpack_order
from service.logs import set_up_logging
from service.settings import Settings
from service.threads import exits_process_on_error
from service.worker.model_thread import Lane
from service.worker.scheduler import Scheduler
from service.worker.session import SessionOptions

logger = logging.getLogger(__name__)

_ORDER_BYTES = 256  # larger than any order
_MAX_ORDERS_AT_ONCE = 64
_DELAY_SLICES = 4


class _Frontend:
    """One frontend: its doorbell, its arena, and the thread that hears it."""

    def __init__(
        self,
        name: str,
        doorbell: socket.socket,
        arena: Arena,
        scheduler: Scheduler,
        max_queue_delay_s: float,
    ) -> None:
        self.name = name
        self._arena = arena
        self._doorbell = doorbell
        self._scheduler = scheduler
        self._delay_s = max_queue_delay_s
        threading.Thread(target=self._receive, name=f"from {name}", daemon=True).start()

    @property
    def arena(self) -> Arena:
        """Where its rows are."""
        return self._arena

    def send_outcomes(self, outcomes: list[Outcome]) -> None:
        """Tell the frontend; one that is gone needs no answer."""
        try:
            for packet in pack_outcomes(outcomes):
                self._doorbell.send(packet)
        except OSError as err:
            logger.warning("%s is gone, its answers are dropped: %s", self.name, err)

    @exits_process_on_error
    def _receive(self) -> None:
        while packets := self._next_packets():
            orders = [unpack_order(packet) for packet in packets]
            tickets = [order for order in orders if not isinstance(order, Cancel)]
            refused = self._scheduler.put(tickets, self)
            if refused:
                self.send_outcomes([Outcome(ticket.id, status) for ticket, status in refused])
            for order in orders:
                if isinstance(order, Cancel):
                    self._scheduler.cancel(self, order.ticket_id)
        self._scheduler.cancel(self)

    def _next_packets(self) -> list[bytes]:
        """Wait for one, and take those that follow closely: they can share its run."""
        packets: list[bytes] = []
        try:
            packets.append(self._doorbell.recv(_ORDER_BYTES))
            is_open = self._drain(packets)
            for _ in range(_DELAY_SLICES):
                if not is_open or not self._delay_s or not more_expected(packets[-1]):
                    break
                # Asleep, and not in recv(): being woken for each of them would cost most of the
                # gain.
                time.sleep(self._delay_s / _DELAY_SLICES)
                is_open = self._drain(packets)
        except ConnectionError:
            return []
        return [packet for packet in packets if packet]

    def _drain(self, packets: list[bytes]) -> bool:
        """Take what is there without waiting; False when no more can come, or enough are here."""
        try:
            while packets[-1] and len(packets) < _MAX_ORDERS_AT_ONCE:
                packets.append(self._doorbell.recv(_ORDER_BYTES, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        return False


class Worker:
    """Obeys the supervisor until it says so, or is gone."""

    def __init__(self, control: ControlSocket, start: Start) -> None:
        self._control = control
        self._send_lock = threading.Lock()
        self._settings = Settings.model_validate(start.settings)
        workers = self._settings.workers
        self._options = SessionOptions(
            device=Device.parse(start.device),
            intra_op_threads=start.intra_op_threads,
            max_batch_size=self._settings.batching.max_batch_size,
            cuda_tf32=workers.cuda_tf32,
            cuda_memory_bytes=workers.cuda_memory_bytes,
        )
        self._scheduler = Scheduler()
        self._lanes: list[Lane] = []

    def run(self) -> None:
        """Until told to drain, which happens when no frontend is left to be answered."""
        while (received := self._control.receive()) is not None:
            message, fds = received
            if isinstance(message, Connect):
                doorbell_fd, arena_fd = fds
                arena = Arena.attach(arena_fd)
                os.close(arena_fd)
                _Frontend(
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
        for lane in self._lanes:
            if lane.has_loaded:  # nobody waits for one that has not
                lane.thread.join(timeout=self._settings.server.drain_timeout_s)

    def _load(self, order: Load) -> None:
        lane = Lane(
            order,
            self._options,
            self._scheduler,
            self._settings.batching.queue_capacity,
            self._settings.workers.calibration_s,
            self._settings.decoding,
            self._report,
        )
        self._lanes.append(lane)
        lane.thread.start()

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
    # Not by returning: a session destroyed while it runs, or is loaded, crashes the process.
    logging.shutdown()
    os._exit(0)
