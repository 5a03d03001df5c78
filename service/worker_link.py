"""One worker, as a frontend sees it: its doorbell, and the tickets it has."""

import logging
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.pending import Pending

logger = logging.getLogger(__name__)


class WorkerLink:
    """One worker, as this frontend sees it. Guarded by the dispatcher's lock."""

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
