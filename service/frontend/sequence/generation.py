"""A continuation under way, as the frontend sees it: its slot, and the news of it."""

import contextlib
import time

import numpy as np
from numpy.typing import NDArray

from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.pending import (
    MAX_LOST_WORKERS,
    STATE_LOST,
    Pending,
    ReservedSlot,
    failure,
    poisonous,
)
from service.frontend.dispatch.workers import WorkerLink
from service.frontend.errors import DeadlineExpired, ServiceError, StateLost
from service.frontend.interceptors import Call
from service.frontend.model_repository import ServedModel
from service.ipc.doorbell import Outcome, Ticket, TicketStatus
from service.ipc.sequence_slot import SequenceLayout, SequencePlan, SequenceSlot

_MOST_LOST_WORKERS = 8  # however many steps it made between them


class Room:
    """A slot that is reserved for one continuation.

    Raises:
        Overloaded: the arena is full.
    """

    def __init__(self, dispatcher: Dispatcher, model_id: int, layout: SequenceLayout) -> None:
        self._dispatcher = dispatcher
        plan = layout.plan
        self._size = layout.size
        self.variant = 0
        self.model_id = model_id
        self.slot_rows = 1
        self.cache_rows = 0 if plan.stream and not plan.opens_stream else plan.beams
        self.start = dispatcher.allocate(layout.size)
        self.pending: Pending | None = None
        self.slot = SequenceSlot(dispatcher.arena.bytes, self.start, layout)
        self.slot.write_plan()

    def release(self) -> None:
        """Give the memory back; for the dispatcher."""
        self._dispatcher.free(self.start, self._size)

    def close(self) -> None:
        """The request is done with it, answered or not."""
        if self.pending is None:
            self.release()
        else:
            self.pending.leave()


class Generation(Pending):
    """A submitted continuation, and the one who waits for its steps."""

    __slots__ = ("_losses", "_made_when_lost", "made")

    def __init__(self, dispatcher: Dispatcher, slot: ReservedSlot, ticket: Ticket) -> None:
        super().__init__(dispatcher, slot, ticket)
        self.made = 0
        self._losses = 0
        self._made_when_lost = -1

    @property
    def room(self) -> Room:
        """Where its steps are."""
        assert isinstance(self.slot, Room)
        return self.slot

    def wake(self) -> None:
        """For the dispatcher: there is news. Several may share one waking up."""
        with contextlib.suppress(RuntimeError):  # nobody has looked since the last news
            self._done.release()

    def note_progress(self, outcome: Outcome) -> None:
        """For the dispatcher: so many steps are complete."""
        self.made = outcome.steps
        self.wake()

    def note_lost(self, was_running: bool) -> ServiceError | None:
        """For the dispatcher: it goes on elsewhere, behind the steps that are complete."""
        plan = self.room.slot.layout.plan
        if plan.stream:
            return StateLost(STATE_LOST)
        if was_running:
            made = self.room.slot.count
            self.lost = 1 if made > self._made_when_lost else self.lost + 1
            self._made_when_lost = made
            self._losses += 1
            if self.lost >= MAX_LOST_WORKERS or self._losses >= _MOST_LOST_WORKERS:
                return poisonous(self._losses)
            self.ticket = self.ticket._replace(alone=True)
        return None

    def wait_for_news(self) -> tuple[int, Outcome | None]:
        """Wait for steps, or the end.

        Returns:
            How many steps are complete; the outcome, if it has ended.

        Raises:
            ServiceError: why it failed.
        """
        remaining_s = (self.ticket.deadline_ns - time.monotonic_ns()) / 1e9
        if not self._done.acquire(timeout=max(0.0, remaining_s)):
            raise DeadlineExpired(
                "the deadline passed before the last step was made; allow more time, or ask for"
                " fewer steps"
            )
        outcome = self.outcome
        if outcome is None:
            return self.made, None
        if isinstance(outcome, Outcome) and outcome.status is TicketStatus.DONE:
            return self.room.slot.count, outcome
        raise outcome if isinstance(outcome, ServiceError) else failure(outcome)


def start_generation(
    dispatcher: Dispatcher,
    model: ServedModel,
    elements: NDArray[np.generic],
    plan: SequencePlan,
    call: Call,
    only: WorkerLink | None = None,
) -> Generation:
    """Write down what is asked, and submit it.

    Args:
        dispatcher: of this frontend.
        model: that is asked.
        elements: the history.
        plan: for a history of that length.
        call: of the caller.
        only: the worker that has the stream's state.

    Raises:
        ServiceError: the server is full, or that worker is gone.
    """
    room = Room(dispatcher, model.model_id, SequenceLayout.of(model.element_layout, plan))
    try:
        room.slot.history[...] = elements
        ticket_id = plan.stream if plan.opens_stream else None
        generation = dispatcher.submit(room, 1, call.deadline_ns, Generation, ticket_id, only)
    except BaseException:
        room.close()
        raise
    if not call.on_end(generation.cancel):
        generation.cancel()
    return generation
