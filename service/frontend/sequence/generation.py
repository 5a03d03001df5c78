"""A continuation in flight, as the frontend sees it: its slot, and the progress of its steps."""

import contextlib
import time

import numpy as np
from numpy.typing import NDArray

from service.frontend.call import Call
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.pending import (
    MAX_LOST_WORKERS,
    STATE_LOST,
    PendingTicket,
    SlotMemory,
    Worker,
    failure,
    poisonous,
)
from service.frontend.errors import DeadlineExpired, ServiceError, StateLost
from service.frontend.model_repository import ServedModel
from service.ipc.doorbell import Outcome, Ticket, TicketStatus
from service.ipc.sequence_slot import SequenceLayout, SequencePlan, SequenceSlot

_MOST_LOST_WORKERS = 8  # even if steps were made between the losses


class SequenceReservation:
    """A slot for one continuation, with memory for every step.

    Raises:
        Overloaded: the arena is full.
    """

    variant = 0
    slot_rows = 1

    def __init__(self, dispatcher: Dispatcher, model_id: int, layout: SequenceLayout) -> None:
        self._dispatcher = dispatcher
        plan = layout.plan
        self.size = layout.size
        self.model_id = model_id
        self.cache_rows = 0 if plan.stream and not plan.opens_stream else plan.beams
        self.start = dispatcher.allocate(layout.size)
        self.pending: PendingTicket | None = None
        self.slot = SequenceSlot(dispatcher.arena.bytes, self.start, layout)
        self.slot.write_plan()

    def close(self) -> None:
        """The request is done with the slot, answered or not."""
        self._dispatcher.free(self)


class Generation(PendingTicket):
    """A submitted continuation. One thread waits for its steps."""

    __slots__ = ("_losses", "_steps_when_lost", "steps")

    def __init__(self, slot: SlotMemory, ticket: Ticket) -> None:
        super().__init__(slot, ticket)
        self.steps = 0  # that are complete
        self._losses = 0
        self._steps_when_lost = -1

    @property
    def reservation(self) -> SequenceReservation:
        """The slot with the steps."""
        assert isinstance(self.slot, SequenceReservation)
        return self.slot

    def wake(self) -> None:
        """For the dispatcher: there are new steps, or the outcome."""
        with contextlib.suppress(RuntimeError):  # already released: one wake-up serves both
            self._done.release()

    def note_progress(self, outcome: Outcome) -> None:
        """For the dispatcher: more steps are complete."""
        self.steps = outcome.steps
        self.wake()

    def note_lost(self, was_running: bool) -> ServiceError | None:
        """For the dispatcher: another worker continues after the steps that are complete."""
        plan = self.reservation.slot.layout.plan
        if plan.stream:
            return StateLost(STATE_LOST)
        if was_running:
            steps = self.reservation.slot.count
            self.lost_workers = 1 if steps > self._steps_when_lost else self.lost_workers + 1
            self._steps_when_lost = steps
            self._losses += 1
            if self.lost_workers >= MAX_LOST_WORKERS or self._losses >= _MOST_LOST_WORKERS:
                return poisonous(self._losses)
            self.ticket = self.ticket._replace(alone=True)
        return None

    def wait_for_steps(self) -> tuple[int, Outcome | None]:
        """Wait for steps, or the end.

        Returns:
            The number of complete steps; the outcome, if the continuation has ended.

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
            return self.steps, None
        if isinstance(outcome, Outcome) and outcome.status is TicketStatus.DONE:
            return self.reservation.slot.count, outcome
        raise outcome if isinstance(outcome, ServiceError) else failure(outcome)


def start_generation(
    dispatcher: Dispatcher,
    model: ServedModel,
    elements: NDArray[np.generic],
    plan: SequencePlan,
    call: Call,
    only: Worker | None = None,
) -> Generation:
    """Write the plan and the history into a slot, and submit it.

    Args:
        dispatcher: of this frontend.
        model: that continues the history.
        elements: the history.
        plan: for a history of that length.
        call: of the request.
        only: the worker that has the stream's state.

    Raises:
        ServiceError: the server is full, or that worker is gone.
    """
    layout = SequenceLayout.of(model.element_layout, plan)
    reservation = SequenceReservation(dispatcher, model.model_id, layout)
    try:
        reservation.slot.history[...] = elements
        ticket_id = plan.stream if plan.opens_stream else None
        return dispatcher.submit(reservation, 1, call, Generation, ticket_id, only)
    except BaseException:
        reservation.close()
        raise
