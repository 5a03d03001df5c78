"""One request in the channel: its slot in shared memory, and who waits for its outcome."""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from service.frontend.errors import (
    CALLER_CANCELLED,
    CallerLeft,
    DeadlineExpired,
    ModelUnavailable,
    Overloaded,
    PoisonousInput,
    RunFailed,
    ServiceError,
    StateLost,
)
from service.ipc.doorbell import Outcome, Ticket, TicketStatus
from service.ipc.slot_layout import SlotLayout

if TYPE_CHECKING:
    from service.frontend.dispatch.dispatcher import Dispatcher
    from service.frontend.dispatch.workers import WorkerLink

logger = logging.getLogger(__name__)


# An input that was running on that many workers as they died is not run again.
MAX_LOST_WORKERS = 2
STATE_LOST = "the stream's state was lost; open another one and send the history again"


class ReservedSlot(Protocol):
    """What the dispatcher needs of a slot."""

    pending: "Pending | None"

    @property
    def start(self) -> int:
        """In the arena, in bytes."""
        ...

    @property
    def model_id(self) -> int:
        """Which is asked."""
        ...

    @property
    def slot_rows(self) -> int:
        """Rows it is laid out for."""
        ...

    @property
    def cache_rows(self) -> int:
        """Rows of the decoding cache that a sequence takes; 0 for other requests."""
        ...

    @property
    def variant(self) -> int:
        """Of the model's; tickets of one variant can share a run."""
        ...

    def release(self) -> None:
        """Give the memory back."""
        ...


class Slot:
    """A part of the arena, for one request; given back when no worker can write to it any more.

    ``inputs`` and ``outputs`` hold one ``[slot_rows, ...]`` array a tensor.
    """

    def __init__(
        self,
        dispatcher: "Dispatcher",
        model_id: int,
        layout: SlotLayout,
        start: int,
        variant: int = 0,
    ) -> None:
        self.start = start
        self.variant = variant
        self.model_id = model_id
        self.slot_rows = layout.inputs[0].shape[0]
        self.cache_rows = 0
        self._layout = layout
        self._dispatcher = dispatcher
        self.pending: Pending | None = None

    def inputs(self) -> list[NDArray[Any]]:
        """Where the rows go."""
        return [self._dispatcher.arena.tensor(self.start, place) for place in self._layout.inputs]

    def outputs(self) -> list[NDArray[Any]]:
        """Where the answers are, once :meth:`Pending.wait` has returned."""
        return [self._dispatcher.arena.tensor(self.start, place) for place in self._layout.outputs]

    def release(self) -> None:
        """Give the memory back; for the dispatcher."""
        self._dispatcher.free(self.start, self._layout.size)

    def close(self) -> None:
        """The request is done with it, answered or not."""
        if self.pending is None:
            self.release()
        else:
            self.pending.leave()


class Pending:
    """A submitted ticket, and the one who waits for it."""

    __slots__ = (
        "_dispatcher",
        "_done",
        "is_finished",
        "is_left",
        "link",
        "lost",
        "outcome",
        "slot",
        "ticket",
    )

    def __init__(self, dispatcher: "Dispatcher", slot: ReservedSlot, ticket: Ticket) -> None:
        self._dispatcher = dispatcher
        self._done = threading.Lock()
        self._done.acquire()
        self.slot = slot
        self.ticket = ticket
        self.link: WorkerLink | None = None
        self.lost = 0  # workers that died while they ran it
        self.outcome: Outcome | ServiceError | None = None
        self.is_finished = False  # no worker will touch the slot any more
        self.is_left = False  # the caller will not look at the slot any more

    def wait(self) -> Outcome:
        """Wait until the outputs are in the slot.

        Raises:
            ServiceError: why there are none.
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
        """For the dispatcher: news of a ticket that has not ended."""

    def note_lost(self, was_running: bool) -> ServiceError | None:
        """For the dispatcher: its worker died; returns why it may not run again."""
        if was_running:
            self.lost += 1
            if self.lost >= MAX_LOST_WORKERS:
                return poisonous(self.lost)
            self.ticket = self.ticket._replace(alone=True)
        return None

    def cancel(self) -> None:
        """The caller hung up; safe to call at any time, from any thread."""
        self._dispatcher.cancel(self)

    def leave(self) -> None:
        """The caller is done with the slot: free it as soon as no worker can write to it."""
        self._dispatcher.leave(self)


def poisonous(lost: int) -> PoisonousInput:
    """What to tell the caller about an input that was running as so many workers died."""
    return PoisonousInput(
        f"this input was running on {lost} workers as they died and is not run again; do not"
        " resend it, and report it with the server's log"
    )


def failure(outcome: Outcome | None) -> ServiceError:
    """What to tell the caller about a ticket that was not done."""
    assert outcome is not None
    match outcome.status:
        case TicketStatus.OVERLOADED:
            return Overloaded("the model's queue is full; retry with backoff, or add workers")
        case TicketStatus.EXPIRED:
            return DeadlineExpired(
                "the deadline cannot be met any more; allow more time, or ask for less"
            )
        case TicketStatus.CANCELLED:
            return CallerLeft(CALLER_CANCELLED)
        case TicketStatus.STATE_LOST:
            return StateLost(STATE_LOST)
        case TicketStatus.UNKNOWN_MODEL:
            return ModelUnavailable("the worker no longer has this model; retry")
        case _:
            logger.error("a run failed: %s", outcome.reason)
            return RunFailed("the model failed on this input; the server's log says how")
