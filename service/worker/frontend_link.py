"""A worker's link to one frontend: its doorbell, its arena, and the thread that receives."""

import logging
import socket
import threading
import time

from service.ipc.arena import Arena
from service.ipc.doorbell import Cancel, Outcome, more_expected, pack_outcomes, unpack_order
from service.threads import exits_process_on_error
from service.worker.scheduler import Scheduler

logger = logging.getLogger(__name__)

_ORDER_BYTES = 256  # larger than any order
_MAX_ORDERS_AT_ONCE = 64
_DELAY_SLICES = 4


class FrontendLink:
    """Receives tickets and cancellations from one frontend, and sends outcomes back."""

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
        """The shared memory with the slots of its tickets."""
        return self._arena

    def send_outcomes(self, outcomes: list[Outcome]) -> None:
        """Report outcomes to the frontend; drop them when it is gone."""
        try:
            for packet in pack_outcomes(outcomes):
                self._doorbell.send(packet)
        except OSError as err:
            logger.warning("%s is gone; its outcomes are dropped: %s", self.name, err)

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
        """Wait for one packet, and take those that follow closely: they can share its run."""
        packets: list[bytes] = []
        try:
            packets.append(self._doorbell.recv(_ORDER_BYTES))
            is_open = self._drain(packets)
            for _ in range(_DELAY_SLICES):
                if not is_open or not self._delay_s or not more_expected(packets[-1]):
                    break
                # It sleeps instead of waiting in recv(): a wake-up for each packet would cost most
                # of what a shared run saves.
                time.sleep(self._delay_s / _DELAY_SLICES)
                is_open = self._drain(packets)
        except ConnectionError:
            return []
        return [packet for packet in packets if packet]

    def _drain(self, packets: list[bytes]) -> bool:
        """Take waiting packets; False when no more can come, or enough were taken."""
        try:
            while packets[-1] and len(packets) < _MAX_ORDERS_AT_ONCE:
                packets.append(self._doorbell.recv(_ORDER_BYTES, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        return False
