"""A submitted ticket, and the wait for its outcome."""

import logging
import threading
import time
from typing import Protocol

from service.frontend.errors import (
    CALL_CANCELLED,
    CallCancelled,
    DeadlineExpired,
    ModelUnavailable,
    Overloaded,
    PoisonousInput,
    RunFailed,
    ServiceError,
    StateLost,
)
from service.ipc.doorbell import Outcome, Ticket, TicketStatus

logger = logging.getLogger(__name__)


# An input that was running on this many workers as they died is not run again.
MAX_LOST_WORKERS = 2
STATE_LOST = "the stream's state was lost; open another stream and send the history again"


class Worker(Protocol):
    """What a ticket knows of the worker that has it."""

    name: str

    def send(self, packet: bytes) -> None:
        """Send it a packet."""
        ...


class SlotMemory(Protocol):
    """What a ticket knows of its slot: a part of the arena, in bytes."""

    @property
    def start(self) -> int:
        """Where it starts in the arena."""
        ...

    @property
    def size(self) -> int:
        """How large it is."""
        ...


class PendingTicket:
    """A submitted ticket. One thread waits for its outcome, which the dispatcher sets."""

    __slots__ = (
        "_done",
        "is_abandoned",
        "is_finished",
        "lost_workers",
        "outcome",
        "slot",
        "ticket",
        "worker",
    )

    def __init__(self, slot: SlotMemory, ticket: Ticket) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self.slot = slot
        self.ticket = ticket
        self.worker: Worker | None = None
        self.lost_workers = 0  # workers that died while they ran it
        self.outcome: Outcome | ServiceError | None = None
        self.is_finished = False  # no worker will use the slot any more
        self.is_abandoned = False  # the request will not use the slot any more

    def wait(self) -> Outcome:
        """Wait until the outputs are in the slot.

        Raises:
            ServiceError: why there are no outputs.
        """
        remaining_s = (self.ticket.deadline_ns - time.monotonic_ns()) / 1e9
        if not self._done.acquire(timeout=max(0.0, remaining_s)):
            raise DeadlineExpired(
                "the deadline passed before the answer was there; allow more time"
            )
        outcome = self.outcome
        if isinstance(outcome, Outcome) and outcome.status is TicketStatus.DONE:
            return outcome
        raise outcome if isinstance(outcome, ServiceError) else failure(outcome)

    def wake(self) -> None:
        """For the dispatcher: the outcome is set."""
        self._done.release()

    def note_progress(self, outcome: Outcome) -> None:
        """For the dispatcher: the worker has reported progress; the ticket has not ended."""

    def note_lost(self, was_running: bool) -> ServiceError | None:
        """For the dispatcher: the worker died; returns why the ticket may not run again."""
        if was_running:
            self.lost_workers += 1
            if self.lost_workers >= MAX_LOST_WORKERS:
                return poisonous(self.lost_workers)
            self.ticket = self.ticket._replace(alone=True)
        return None


def poisonous(lost_workers: int) -> PoisonousInput:
    """The error for an input that was running on this many workers as they died."""
    return PoisonousInput(
        f"this input was running on {lost_workers} workers as they died and is not run again; do"
        " not resend it, and report it with the server's log"
    )


def failure(outcome: Outcome | None) -> ServiceError:
    """The error for a ticket that was not done."""
    assert outcome is not None
    match outcome.status:
        case TicketStatus.OVERLOADED:
            return Overloaded("the model's queue is full; retry with backoff, or add workers")
        case TicketStatus.EXPIRED:
            return DeadlineExpired(
                "the deadline cannot be met any more; allow more time, or ask for less"
            )
        case TicketStatus.CANCELLED:
            return CallCancelled(CALL_CANCELLED)
        case TicketStatus.STATE_LOST:
            return StateLost(STATE_LOST)
        case TicketStatus.UNKNOWN_MODEL:
            return ModelUnavailable("the worker no longer has this model; retry")
        case _:
            logger.error("a run failed: %s", outcome.reason)
            return RunFailed("the model failed on this input; the server's log says how")
