"""The workers, as a frontend sees them: their doorbells, and the tickets that they have."""

import logging
import socket
from collections.abc import Iterator

from service.frontend.dispatch.pending import PendingTicket, Worker
from service.ipc.doorbell import PACKET_BYTES, Outcome, unpack_outcomes

logger = logging.getLogger(__name__)


class WorkerLink:
    """One worker. The dispatcher's lock guards everything except the doorbell."""

    def __init__(self, name: str, doorbell: socket.socket) -> None:
        self.name = name
        self.doorbell = doorbell
        self.models: set[int] = set()
        self.outstanding: dict[int, PendingTicket] = {}
        self.outstanding_rows = 0

    def give(self, pending: PendingTicket) -> None:
        """The worker has this ticket from now on."""
        self.outstanding[pending.ticket.id] = pending
        self.outstanding_rows += pending.ticket.rows
        pending.worker = self

    def take(self, ticket_id: int) -> PendingTicket | None:
        """The worker no longer has this ticket; None if it did not have it."""
        pending = self.outstanding.pop(ticket_id, None)
        if pending is not None:
            self.outstanding_rows -= pending.ticket.rows
        return pending

    def take_all(self) -> list[PendingTicket]:
        """The worker has no tickets any more; returns those that it had."""
        orphans = list(self.outstanding.values())
        self.outstanding.clear()
        self.outstanding_rows = 0
        return orphans

    def send(self, packet: bytes) -> None:
        """Send a packet. The thread that receives from a worker notices when it is gone."""
        try:
            self.doorbell.send(packet)
        except OSError as err:
            logger.debug("%s did not take a packet: %s", self.name, err)

    def receive(self) -> Iterator[list[Outcome]]:
        """The worker's outcomes, one packet at a time, until the worker is gone."""
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


class WorkerLinks:
    """All workers of a frontend, and the tickets that wait for one. Guarded by the same lock."""

    def __init__(self) -> None:
        self._links: dict[str, WorkerLink] = {}
        self._parked: dict[int, PendingTicket] = {}  # no worker has their model at the moment

    def add(self, link: WorkerLink) -> None:
        """A new worker is connected; it has no model yet."""
        self._links[link.name] = link

    def remove(self, link: WorkerLink) -> None:
        """A worker is gone; another with its name may have replaced it."""
        if self.is_known(link):
            del self._links[link.name]

    def is_known(self, worker: Worker) -> bool:
        """Whether this worker is still connected."""
        return self._links.get(worker.name) is worker

    def count_with(self, model_id: int) -> int:
        """How many workers have a model; may be called without the lock."""
        return sum(model_id in link.models for link in list(self._links.values()))

    def set_model(self, model_id: int, names: list[str]) -> list[tuple[WorkerLink, bytes]]:
        """Only these workers have the model ready; as `reassign` for the tickets that wait."""
        for link in self._links.values():
            link.models.discard(model_id)
            if link.name in names:
                link.models.add(model_id)
        return self.reassign(self.parked_for(model_id))

    def assign(self, pending: PendingTicket, only: Worker | None = None) -> WorkerLink | None:
        """Give a ticket to the least busy worker with its model, or park it until there is one."""
        ticket = pending.ticket
        if only is not None:
            candidates = [self._links[only.name]]
        else:
            candidates = [link for link in self._links.values() if ticket.model_id in link.models]
        if not candidates:
            self._parked[ticket.id] = pending
            pending.worker = None
            return None
        link = (
            candidates[0]
            if len(candidates) == 1
            else min(candidates, key=lambda each: each.outstanding_rows)
        )
        link.give(pending)
        return link

    def reassign(self, tickets: list[PendingTicket]) -> list[tuple[WorkerLink, bytes]]:
        """Assign tickets again; returns what to send after the lock is released."""
        sends: list[tuple[WorkerLink, bytes]] = []
        for pending in tickets:
            self.unpark(pending)
            link = self.assign(pending)
            if link is not None:
                sends.append((link, pending.ticket.pack()))
        return sends

    def parked_for(self, model_id: int) -> list[PendingTicket]:
        """The tickets that wait for a worker with the model."""
        return [each for each in self._parked.values() if each.ticket.model_id == model_id]

    def unpark(self, pending: PendingTicket) -> bool:
        """The ticket no longer waits for a worker; False if it did not wait."""
        return self._parked.pop(pending.ticket.id, None) is not None


def send_all(sends: list[tuple[WorkerLink, bytes]]) -> None:
    """Send each packet."""
    for link, packet in sends:
        link.send(packet)
