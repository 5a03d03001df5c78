"""The frontend's end of the channel: hands tickets to workers, and survives lost ones.

What was running on a worker that died is run again once, and alone, for it may be what killed it;
what was only queued there is simply given to another. While no worker has the model, tickets wait
here.
"""

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable

from service import metrics
from service.arena import Arena, ArenaFull, SlotAllocator, SlotLayout
from service.doorbell import PACKET_BYTES, Cancel, Outcome, Ticket, unpack_outcomes
from service.errors import (
    CallerLeft,
    ModelUnavailable,
    Overloaded,
    PoisonousInput,
    ServiceError,
)
from service.pending import Pending, Slot

logger = logging.getLogger(__name__)

# An input that was running on that many workers as they died is not run again.
_MAX_LOST_WORKERS = 2


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


class Dispatcher:
    """All tickets of one frontend."""

    def __init__(self, arena: Arena, callers: Callable[[], float] = lambda: 1) -> None:
        self.arena = arena
        self._callers = callers  # how many requests could be on their way
        self._waiting = 0  # of these: submitted, and not answered yet
        self.slots = SlotAllocator(arena.size)
        self._lock = threading.Lock()
        self._links: dict[str, WorkerLink] = {}
        self._parked: dict[int, Pending] = {}  # no worker has their model just now
        self._ids = itertools.count(1)

    # -- what endpoints call

    def reserve(self, model_id: int, layout: SlotLayout, variant: int = 0) -> Slot:
        """A part of the arena for rows of one variant of a model.

        Raises:
            Overloaded: the arena is full.
        """
        try:
            start = self.slots.allocate(layout.size)
        except ArenaFull:
            raise Overloaded(
                "the server's memory for requests is full; retry with backoff, or raise"
                " channel.arena_bytes"
            ) from None
        return Slot(self, model_id, layout, start, variant)

    def submit(self, slot: Slot, rows: int, deadline_ns: int) -> Pending:
        """Give the first ``rows`` rows of a slot to the least busy worker that has the model."""
        ticket = Ticket(
            next(self._ids),
            slot.model_id,
            slot.start,
            slot.capacity,
            rows,
            deadline_ns,
            time.monotonic_ns(),
            more_expected=self._callers() > self._waiting + 1,
            variant=slot.variant,
        )
        pending = slot.pending = Pending(self, slot, ticket)
        self.arena.mark_queued(slot.start)
        with self._lock:
            self._waiting += 1
            link = self._assign(pending)
        if link is not None:
            link.send(ticket.pack())
        return pending

    def cancel(self, pending: Pending) -> None:
        """The caller hung up: wake who waits, and tell the worker."""
        with self._lock:
            if pending.is_finished or pending.is_left or pending.outcome is not None:
                return
            pending.outcome = CallerLeft("the caller cancelled the call")
            link = pending.link
        pending.wake()
        if link is not None:
            link.send(Cancel(pending.ticket.id).pack())

    def leave(self, pending: Pending) -> None:
        """The slot is not looked at any more; free it unless a worker may still write to it."""
        with self._lock:
            if pending.is_left:
                return
            pending.is_left = True
            if self._parked.pop(pending.ticket.id, None):
                pending.is_finished = True
                self._waiting -= 1
            is_free, link = pending.is_finished, pending.link
        if is_free:
            pending.slot.release()
        elif link is not None:
            link.send(Cancel(pending.ticket.id).pack())

    def free(self, start: int, size: int) -> None:
        """Give a slot's memory back."""
        self.slots.release(start, size)

    # -- what the supervisor's messages cause

    def connect(self, name: str, doorbell: socket.socket) -> None:
        """A worker is there; it has no model yet."""
        link = WorkerLink(name, doorbell)
        with self._lock:
            self._links[name] = link
        threading.Thread(
            target=self._receive, args=(link,), name=f"from {name}", daemon=True
        ).start()

    def set_workers(self, model_id: int, names: list[str]) -> None:
        """These workers have the model ready, and no others."""
        with self._lock:
            for link in self._links.values():
                link.models.discard(model_id)
                if link.name in names:
                    link.models.add(model_id)
            waiting = [p for p in self._parked.values() if p.ticket.model_id == model_id]
            sends = self._reassign(waiting)
        _send_all(sends)

    def fail_model(self, model_id: int, reason: str) -> None:
        """No worker will ever have the model: tell those who wait for one."""
        with self._lock:
            waiting = [p for p in self._parked.values() if p.ticket.model_id == model_id]
            for pending in waiting:
                del self._parked[pending.ticket.id]
                self._finish(pending, ModelUnavailable(reason))

    # -- inside; the lock is held

    def _assign(self, pending: Pending) -> WorkerLink | None:
        """Choose a worker, or park the ticket until there is one."""
        ticket = pending.ticket
        candidates = [link for link in self._links.values() if ticket.model_id in link.models]
        if not candidates:
            self._parked[ticket.id] = pending
            pending.link = None
            return None
        link = (
            candidates[0]
            if len(candidates) == 1
            else min(candidates, key=lambda each: each.outstanding_rows)
        )
        link.outstanding[ticket.id] = pending
        link.outstanding_rows += ticket.rows
        pending.link = link
        return link

    def _reassign(self, tickets: list[Pending]) -> list[tuple[WorkerLink, bytes]]:
        """Assign tickets again; returns what to send once the lock is released."""
        sends: list[tuple[WorkerLink, bytes]] = []
        for pending in tickets:
            self._parked.pop(pending.ticket.id, None)
            link = self._assign(pending)
            if link is not None:
                sends.append((link, pending.ticket.pack()))
        return sends

    def _finish(self, pending: Pending, outcome: Outcome | ServiceError) -> None:
        pending.is_finished = True
        self._waiting -= 1
        if pending.is_left:
            pending.slot.release()
        elif pending.outcome is None:
            pending.outcome = outcome
            pending.wake()

    # -- a thread for each worker

    def _receive(self, link: WorkerLink) -> None:
        buffer = bytearray(PACKET_BYTES)
        view = memoryview(buffer)
        while True:
            try:
                count = link.doorbell.recv_into(buffer)
            except ConnectionError:
                count = 0
            if not count:
                break
            outcomes = unpack_outcomes(view[:count])
            with self._lock:
                for outcome in outcomes:
                    pending = link.outstanding.pop(outcome.ticket_id, None)
                    if pending is not None:
                        link.outstanding_rows -= pending.ticket.rows
                        self._finish(pending, outcome)
        self._lose(link)

    def _lose(self, link: WorkerLink) -> None:
        """A worker died: give its tickets to others, and suspect those that it was running."""
        with self._lock:
            if self._links.get(link.name) is link:
                del self._links[link.name]
            orphans = list(link.outstanding.values())
            link.outstanding.clear()
            again = [pending for pending in orphans if self._may_run_again(pending)]
            sends = self._reassign(again)
        link.doorbell.close()
        _send_all(sends)
        if orphans:
            logger.warning(
                "%s was lost; %d of its %d requests run again", link.name, len(again), len(orphans)
            )

    def _may_run_again(self, pending: Pending) -> bool:
        if pending.is_left or pending.outcome is not None:
            self._finish(pending, CallerLeft("the caller cancelled the call"))
            return False
        if self.arena.is_running(pending.slot.start):
            pending.lost += 1
            if pending.lost >= _MAX_LOST_WORKERS:
                self._finish(
                    pending,
                    PoisonousInput(
                        f"this input was running on {pending.lost} workers as they died and is not"
                        " run again; do not resend it, and report it with the server's log"
                    ),
                )
                return False
            pending.ticket = pending.ticket._replace(alone=True)
        self.arena.mark_queued(pending.slot.start)
        metrics.RERUN_REQUESTS.inc()
        return True


def _send_all(sends: list[tuple[WorkerLink, bytes]]) -> None:
    for link, packet in sends:
        link.send(packet)
