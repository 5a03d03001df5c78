"""One worker, as a frontend sees it: its doorbell, and the tickets it has."""

import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from service.doorbell import PACKET_BYTES, Outcome, unpack_outcomes

if TYPE_CHECKING:
    from service.pending import Pending

logger = logging.getLogger(__name__)


class WorkerLink:
    """Guarded by the dispatcher's lock, but for the doorbell."""

    def __init__(self, name: str, doorbell: socket.socket) -> None:
        self.name = name
        self.doorbell = doorbell
        self.models: set[int] = set()
        self.outstanding: dict[int, Pending] = {}
        self.outstanding_rows = 0

    def send(self, packet: bytes) -> None:
        """Ring; that a worker is gone is noticed by the thread that receives from it."""
        try:
            self.doorbell.send(packet)
        except OSError as err:
            logger.debug("%s did not take a packet: %s", self.name, err)

    def receive(self) -> Iterator[list[Outcome]]:
        """What it tells, a packet at a time, until it is gone."""
        buffer = bytearray(PACKET_BYTES)
        view = memoryview(buffer)
        while True:
            try:
                count = self.doorbell.recv_into(buffer)
            except ConnectionError:
                return
            if not count:
                return
            yield unpack_outcomes(view[:count])
