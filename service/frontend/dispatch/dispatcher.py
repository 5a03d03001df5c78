"""The frontend's side of the channel: gives tickets to workers, and survives lost workers.

When a worker dies, a ticket that was running there is run again once, and alone, because it may
have killed the worker. A ticket that was only queued there goes to another worker. While no worker
has the model, its tickets wait here.
"""

import itertools
import logging
import socket
import threading
import time
from collections import Counter
from functools import partial
from typing import TypeVar

from service import metrics
from service.frontend.call import Call
from service.frontend.dispatch.concurrency import ConcurrentRequests
from service.frontend.dispatch.pending import STATE_LOST, PendingTicket, Worker
from service.frontend.dispatch.slot_allocator import ArenaFull, SlotAllocator
from service.frontend.dispatch.slots import RequestSlot, Slot
from service.frontend.dispatch.workers import WorkerLink, WorkerLinks, send_all
from service.frontend.errors import (
    CALL_CANCELLED,
    CallCancelled,
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

SomePending = TypeVar("SomePending", bound=PendingTicket)


class Dispatcher:
    """All tickets of one frontend."""

    def __init__(self, arena: Arena, concurrent_requests: ConcurrentRequests) -> None:
        self.arena = arena
        self._concurrent_requests = concurrent_requests
        self._waiting: Counter[int] = Counter()  # tickets without an outcome, by model
        self.slots = SlotAllocator(arena.size)
        self._lock = threading.Lock()
        self._workers = WorkerLinks()
        self._ids = itertools.count(1)

    # -- for endpoints

    def reserve(self, model_id: int, layout: SlotLayout, variant: int = 0) -> Slot:
        """A slot for rows of one variant of a model.

        Raises:
            Overloaded: the arena is full.
        """
        start = self.allocate(layout.size)
        return Slot(self.arena, model_id, layout, start, self.free, variant)

    def allocate(self, size: int) -> int:
        """Take ``size`` bytes of the arena.

        Raises:
            InvalidInput: the arena is smaller than that.
            Overloaded: the arena is full.
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
        """A number for a ticket."""
        return next(self._ids)

    def submit(
        self,
        slot: RequestSlot,
        rows: int,
        call: Call,
        pending_type: type[SomePending] = PendingTicket,
        ticket_id: int | None = None,
        only: Worker | None = None,
    ) -> SomePending:
        """Give the first ``rows`` rows of a slot to the least busy worker that has the model.

        The end of the call cancels the ticket.

        Args:
            slot: with the request's input.
            rows: that are filled.
            call: of the request.
            pending_type: what to wait with.
            ticket_id: from `next_id`; None: the next number.
            only: the one worker that may run the ticket.

        Raises:
            StateLost: that worker is gone.
        """
        ticket = Ticket(
            self.next_id() if ticket_id is None else ticket_id,
            slot.model_id,
            slot.start,
            slot.slot_rows,
            rows,
            call.deadline_ns,
            time.monotonic_ns(),
            more_expected=self._is_more_expected(slot.model_id),
            variant=slot.variant,
            cache_rows=slot.cache_rows,
        )
        pending = slot.pending = pending_type(slot, ticket)
        self.arena.mark_queued(slot.start)
        with self._lock:
            if only is not None and not self._workers.is_known(only):
                slot.pending = None
                raise StateLost(STATE_LOST)
            self._waiting[slot.model_id] += 1
            link = self._workers.assign(pending, only)
        if link is not None:
            link.send(ticket.pack())
        cancel = partial(self.cancel, pending)
        if not call.on_end(cancel):
            cancel()
        return pending

    def _is_more_expected(self, model_id: int) -> bool:
        """Whether more requests may come soon and share a run: more than one for each worker."""
        provided = max(self._waiting[model_id] + 1, self._workers.count_with(model_id))
        return self._concurrent_requests.estimate(model_id) > provided

    def close_stream(self, worker: Worker, ticket_id: int) -> None:
        """A stream has ended: the worker may forget its state."""
        worker.send(Cancel(ticket_id).pack())

    def cancel(self, pending: PendingTicket) -> None:
        """The call has ended: wake the thread that waits, and tell the worker.

        Safe to call at any time, from any thread.
        """
        with self._lock:
            if pending.is_finished or pending.is_abandoned or pending.outcome is not None:
                return
            pending.outcome = CallCancelled(CALL_CANCELLED)
            worker = pending.worker
        pending.wake()
        if worker is not None:
            worker.send(Cancel(pending.ticket.id).pack())

    def free(self, slot: RequestSlot) -> None:
        """Free the memory of a slot at once, or as soon as no worker can write to it."""
        pending = slot.pending
        if pending is None:
            self.slots.release(slot.start, slot.size)
            return
        with self._lock:
            if pending.is_abandoned:
                return
            pending.is_abandoned = True
            if self._workers.unpark(pending):
                pending.is_finished = True
                self._waiting[pending.ticket.model_id] -= 1
            is_free, worker = pending.is_finished, pending.worker
        if is_free:
            self.slots.release(slot.start, slot.size)
        elif worker is not None:
            worker.send(Cancel(pending.ticket.id).pack())

    # -- for the supervisor's messages

    def connect(self, name: str, doorbell: socket.socket) -> None:
        """A new worker is connected; it has no model yet."""
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
        """Only these workers have the model ready."""
        with self._lock:
            sends = self._workers.set_model(model_id, names)
        send_all(sends)

    def fail_model(self, model_id: int, reason: str) -> None:
        """No worker will ever have the model: fail the tickets that wait for one."""
        with self._lock:
            for pending in self._workers.parked_for(model_id):
                self._workers.unpark(pending)
                self._finish(pending, ModelUnavailable(reason))

    # -- one thread for each worker

    @exits_process_on_error
    def _receive(self, link: WorkerLink) -> None:
        for outcomes in link.receive():
            with self._lock:
                for outcome in outcomes:
                    if outcome.status is TicketStatus.PROGRESS:
                        if (pending := link.outstanding.get(outcome.ticket_id)) is not None:
                            pending.note_progress(outcome)
                        continue
                    if (pending := link.take(outcome.ticket_id)) is not None:
                        self._finish(pending, outcome)
        self._lose(link)

    def _lose(self, link: WorkerLink) -> None:
        """A worker died: give its tickets to others; those that were running will run alone."""
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

    def _may_run_again(self, pending: PendingTicket) -> bool:
        """With the lock held. A ticket that may not run again is finished with its error."""
        if pending.is_abandoned or pending.outcome is not None:
            self._finish(pending, CallCancelled(CALL_CANCELLED))
            return False
        was_running = self.arena.is_running(pending.slot.start)
        if (error := pending.note_lost(was_running)) is not None:
            self._finish(pending, error)
            return False
        self.arena.mark_queued(pending.slot.start)
        metrics.RERUN_REQUESTS.inc()
        return True

    def _finish(self, pending: PendingTicket, outcome: Outcome | ServiceError) -> None:
        """With the lock held."""
        pending.is_finished = True
        self._waiting[pending.ticket.model_id] -= 1
        if pending.is_abandoned:
            self.slots.release(pending.slot.start, pending.slot.size)
        elif pending.outcome is None:
            pending.outcome = outcome
            pending.wake()
