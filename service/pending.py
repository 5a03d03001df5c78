"""One request in the channel: its slot in shared memory, and who waits for its outcome."""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from service.arena import SlotLayout
from service.doorbell import Outcome, Status, Ticket
from service.errors import (
    CallerLeft,
    DeadlineExpired,
    ModelUnavailable,
    Overloaded,
    RunFailed,
    ServiceError,
)

if TYPE_CHECKING:
    from service.dispatcher import Dispatcher, WorkerLink

logger = logging.getLogger(__name__)


class Slot:
    """A part of the arena, for one request; given back when no worker can write to it any more.

    ``inputs`` and ``outputs`` hold one ``[capacity, ...]`` array a tensor.
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
        self.capacity = layout.inputs[0].shape[0]
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

    def __init__(self, dispatcher: "Dispatcher", slot: Slot, ticket: Ticket) -> None:
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
        if isinstance(outcome, Outcome) and outcome.status is Status.DONE:
            return outcome
        raise outcome if isinstance(outcome, ServiceError) else _failure(outcome)

    def wake(self) -> None:
        """For the dispatcher: the outcome is set."""
        self._done.release()

    def cancel(self) -> None:
        """The caller hung up; safe to call at any time, from any thread."""
        self._dispatcher.cancel(self)

    def leave(self) -> None:
        """The caller is done with the slot: free it as soon as no worker can write to it."""
        self._dispatcher.leave(self)


def _failure(outcome: Outcome | None) -> ServiceError:
    """What to tell the caller about a ticket that was not done."""
    assert outcome is not None
    match outcome.status:
        case Status.OVERLOADED:
            return Overloaded("the model's queue is full; retry with backoff, or add workers")
        case Status.EXPIRED:
            return DeadlineExpired(
                "the deadline cannot be met any more; allow more time, or ask for less"
            )
        case Status.CANCELLED:
            return CallerLeft("the caller cancelled the call")
        case Status.UNKNOWN_MODEL:
            return ModelUnavailable("the worker no longer has this model; retry")
        case _:
            logger.error("a run failed: %s", outcome.reason)
            return RunFailed("the model failed on this input; the server's log says how")
