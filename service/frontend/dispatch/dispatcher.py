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
from collections import Counter
from typing import TypeVar

from service import metrics
from service.frontend.dispatch.concurrency import Callers
from service.frontend.dispatch.pending import STATE_LOST, Pending, ReservedSlot, Slot
from service.frontend.dispatch.slot_allocator import ArenaFull, SlotAllocator
from service.frontend.dispatch.workers import WorkerLink, WorkerLinks, send_all
from service.frontend.errors import (
    CALLER_CANCELLED,
    CallerLeft,
    InvalidInput,
    ModelUnavailable,
    Overloaded,
    ServiceError,
    StateLost,
)
from service.ipc.arena import Arena
from service.ipc.doorbell import Cancel, Outcome, Ticket, TicketStatus
from service.ipc.slot_layout import SlotLayout
from service.threads import exits_process_on_error

logger = logging.getLogger(__name__)

SomePending = TypeVar("SomePending", bound=Pending)


class Dispatcher:
    """All tickets of one frontend."""

    def __init__(self, arena: Arena, callers: Callers) -> None:
        self.arena = arena
        self._callers = callers
        self._waiting: Counter[int] = Counter()  # of each model: submitted, and not answered yet
        self.slots = SlotAllocator(arena.size)
        self._lock = threading.Lock()
        self._workers = WorkerLinks()
        self._ids = itertools.count(1)

    # -- what endpoints call

    def reserve(self, model_id: int, layout: SlotLayout, variant: int = 0) -> Slot:
        """A part of the arena for rows of one variant of a model.

        Raises:
            Overloaded: the arena is full.
        """
        return Slot(self, model_id, layout, self.allocate(layout.size), variant)

    def allocate(self, size: int) -> int:
        """Take ``size`` bytes of the arena.

        Raises:
            InvalidInput: it has not so many.
            Overloaded: it is full.
        """
        if size > self.slots.capacity:
            raise InvalidInput(
                f"the request needs {size:,} bytes of shared memory, and there are"
                f" {self.slots.capacity:,}; ask for less at once, or raise channel.arena_bytes"
            )
        try:
            return self.slots.allocate(size)
        except ArenaFull:
            raise Overloaded(
                "the server's memory for requests is full; retry with backoff, or raise"
                " channel.arena_bytes"
            ) from None

    def next_id(self) -> int:
        """For a ticket."""
        return next(self._ids)

    def submit(
        self,
        slot: ReservedSlot,
        rows: int,
        deadline_ns: int,
        pending_type: type[SomePending] = Pending,
        ticket_id: int | None = None,
        only: WorkerLink | None = None,
    ) -> SomePending:
        """Give the first ``rows`` rows of a slot to the least busy worker that has the model.

        Args:
            slot: what is asked.
            rows: how much of it.
            deadline_ns: CLOCK_MONOTONIC.
            pending_type: what to wait with.
            ticket_id: from `next_id`; None: the next one.
            only: the worker that has to answer, and no other.

        Raises:
            StateLost: that worker is gone.
        """
        ticket = Ticket(
            self.next_id() if ticket_id is None else ticket_id,
            slot.model_id,
            slot.start,
            slot.slot_rows,
            rows,
            deadline_ns,
            time.monotonic_ns(),
            more_expected=self._is_company_expected(slot.model_id),
            variant=slot.variant,
            cache_rows=slot.cache_rows,
        )
        pending = slot.pending = pending_type(self, slot, ticket)
        self.arena.mark_queued(slot.start)
        with self._lock:
            if only is not None and not self._workers.is_known(only):
                slot.pending = None
                raise StateLost(STATE_LOST)
            self._waiting[slot.model_id] += 1
            link = self._workers.assign(pending, only)
        if link is not None:
            link.send(ticket.pack())
        return pending

    def _is_company_expected(self, model_id: int) -> bool:
        """Whether others may come soon that could share a run: more than have a worker each."""
        provided = max(self._waiting[model_id] + 1, self._workers.count_with(model_id))
        return self._callers.count(model_id) > provided

    def close_stream(self, link: WorkerLink, ticket_id: int) -> None:
        """Nobody follows any more: the worker may forget the state."""
        link.send(Cancel(ticket_id).pack())

    def cancel(self, pending: Pending) -> None:
        """The caller hung up: wake who waits, and tell the worker."""
        with self._lock:
            if pending.is_finished or pending.is_left or pending.outcome is not None:
                return
            pending.outcome = CallerLeft(CALLER_CANCELLED)
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
            if self._workers.unpark(pending):
                pending.is_finished = True
                self._waiting[pending.ticket.model_id] -= 1
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
            self._workers.add(link)
        threading.Thread(
            target=self._receive,
            args=(link,),
            name=f"from {name}",
            daemon=True,
        ).start()

    def set_workers(self, model_id: int, names: list[str]) -> None:
        """These workers have the model ready, and no others."""
        with self._lock:
            sends = self._workers.set_model(model_id, names)
        send_all(sends)

    def fail_model(self, model_id: int, reason: str) -> None:
        """No worker will ever have the model: tell those who wait for one."""
        with self._lock:
            for pending in self._workers.parked_for(model_id):
                self._workers.unpark(pending)
                self._finish(pending, ModelUnavailable(reason))

    # -- a thread for each worker

    @exits_process_on_error
    def _receive(self, link: WorkerLink) -> None:
        for outcomes in link.receive():
            with self._lock:
                for outcome in outcomes:
                    if outcome.status is TicketStatus.PROGRESS:
                        if (asked := link.outstanding.get(outcome.ticket_id)) is not None:
                            asked.note_progress(outcome)
                        continue
                    if (pending := link.take(outcome.ticket_id)) is not None:
                        self._finish(pending, outcome)
        self._lose(link)

    def _lose(self, link: WorkerLink) -> None:
        """A worker died: give its tickets to others, and suspect those that it was running."""
        with self._lock:
            self._workers.remove(link)
            orphans = link.take_all()
            again = [pending for pending in orphans if self._may_run_again(pending)]
            sends = self._workers.reassign(again)
        link.doorbell.close()
        send_all(sends)
        if orphans:
            logger.warning(
                "%s was lost; %d of its %d requests run again", link.name, len(again), len(orphans)
            )

    def _may_run_again(self, pending: Pending) -> bool:
        """With the lock held; who may not is told so."""
        if pending.is_left or pending.outcome is not None:
            self._finish(pending, CallerLeft(CALLER_CANCELLED))
            return False
        was_running = self.arena.is_running(pending.slot.start)
        if (verdict := pending.note_lost(was_running)) is not None:
            self._finish(pending, verdict)
            return False
        self.arena.mark_queued(pending.slot.start)
        metrics.RERUN_REQUESTS.inc()
        return True

    def _finish(self, pending: Pending, outcome: Outcome | ServiceError) -> None:
        """With the lock held."""
        pending.is_finished = True
        self._waiting[pending.ticket.model_id] -= 1
        if pending.is_left:
            pending.slot.release()
        elif pending.outcome is None:
            pending.outcome = outcome
            pending.wake()
