"""The workers, as a frontend sees them: their doorbells, and the tickets they have."""

import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from service.ipc.doorbell import PACKET_BYTES, Outcome, unpack_outcomes

if TYPE_CHECKING:
    from service.frontend.dispatch.pending import Pending

logger = logging.getLogger(__name__)


class WorkerLink:
    """Guarded by the dispatcher's lock, but for the doorbell."""

    def __init__(self, name: str, doorbell: socket.socket) -> None:
        self.name = name
        self.doorbell = doorbell
        self.models: set[int] = set()
        self.outstanding: dict[int, Pending] = {}
        self.outstanding_rows = 0

    def give(self, pending: "Pending") -> None:
        """A ticket is its from now on."""
        self.outstanding[pending.ticket.id] = pending
        self.outstanding_rows += pending.ticket.rows
        pending.link = self

    def take(self, ticket_id: int) -> "Pending | None":
        """A ticket is no longer its; None where it has none of that number."""
        pending = self.outstanding.pop(ticket_id, None)
        if pending is not None:
            self.outstanding_rows -= pending.ticket.rows
        return pending

    def take_all(self) -> "list[Pending]":
        """No ticket is its any more."""
        orphans = list(self.outstanding.values())
        self.outstanding.clear()
        self.outstanding_rows = 0
        return orphans

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


class WorkerLinks:
    """All workers of a frontend, and the tickets that none can take. Guarded by the same lock."""

    def __init__(self) -> None:
        self._links: dict[str, WorkerLink] = {}
        self._parked: dict[int, Pending] = {}  # no worker has their model just now

    def add(self, link: WorkerLink) -> None:
        """A worker is there; it has no model yet."""
        self._links[link.name] = link

    def remove(self, link: WorkerLink) -> None:
        """It is gone; another of its name may have taken its place."""
        if self.is_known(link):
            del self._links[link.name]

    def is_known(self, link: WorkerLink) -> bool:
        """Whether it is still there."""
        return self._links.get(link.name) is link

    def count_with(self, model_id: int) -> int:
        """How many have a model; may be asked without the lock."""
        return sum(model_id in link.models for link in list(self._links.values()))

    def set_model(self, model_id: int, names: list[str]) -> list[tuple[WorkerLink, bytes]]:
        """These workers have the model ready, and no others; as `reassign` for those who wait."""
        for link in self._links.values():
            link.models.discard(model_id)
            if link.name in names:
                link.models.add(model_id)
        return self.reassign(self.parked_for(model_id))

    def assign(self, pending: "Pending", only: WorkerLink | None = None) -> WorkerLink | None:
        """Give a ticket to the least busy that has its model, or park it until there is one."""
        ticket = pending.ticket
        candidates = [link for link in self._links.values() if ticket.model_id in link.models]
        if only is not None:
            candidates = [only]
        if not candidates:
            self._parked[ticket.id] = pending
            pending.link = None
            return None
        link = (
            candidates[0]
            if len(candidates) == 1
            else min(candidates, key=lambda each: each.outstanding_rows)
        )
        link.give(pending)
        return link

    def reassign(self, tickets: "list[Pending]") -> list[tuple[WorkerLink, bytes]]:
        """Assign tickets again; returns what to send once the lock is released."""
        sends: list[tuple[WorkerLink, bytes]] = []
        for pending in tickets:
            self.unpark(pending)
            link = self.assign(pending)
            if link is not None:
                sends.append((link, pending.ticket.pack()))
        return sends

    def parked_for(self, model_id: int) -> "list[Pending]":
        """Who waits for a worker with the model."""
        return [each for each in self._parked.values() if each.ticket.model_id == model_id]

    def unpark(self, pending: "Pending") -> bool:
        """It does not wait for a worker any more; False when it did not."""
        return self._parked.pop(pending.ticket.id, None) is not None


def send_all(sends: list[tuple[WorkerLink, bytes]]) -> None:
    """Ring for each."""
    for link, packet in sends:
        link.send(packet)
