"""Tickets inside a worker: in a queue, in a batch, and back to the frontend that sent them."""

import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from service.ipc.arena import Arena
from service.ipc.doorbell import Outcome, Ticket, TicketStatus


class Sender(Protocol):
    """The frontend that sent a ticket."""

    @property
    def arena(self) -> Arena:
        """The shared memory with the ticket's slot."""
        ...

    def send_outcomes(self, outcomes: list[Outcome]) -> None:
        """Report outcomes of its tickets to the frontend."""


class OutcomesBySender(defaultdict[Sender, list[Outcome]]):
    """Outcomes grouped by frontend; each frontend then receives all of its own at once."""

    def __init__(self) -> None:
        super().__init__(list)

    def send(self) -> None:
        """Send them."""
        for sender, outcomes in self.items():
            sender.send_outcomes(outcomes)


class Entry:
    """A ticket that is queued or running.

    Attributes:
        taken_rows: rows that are already part of a batch; a ticket may be larger than a batch.
        finished_rows: rows that have been computed.
        is_cancelled: whether the caller has left.
        failure: why a run with rows of this ticket failed.
    """

    __slots__ = ("failure", "finished_rows", "is_cancelled", "sender", "taken_rows", "ticket")

    def __init__(self, ticket: Ticket, sender: Sender) -> None:
        self.ticket = ticket
        self.sender = sender
        self.taken_rows = 0
        self.finished_rows = 0
        self.is_cancelled = False
        self.failure: str | None = None


class BatchPart(NamedTuple):
    """Rows ``start:stop`` of one ticket, in one batch."""

    entry: Entry
    start: int
    stop: int


class Batch(NamedTuple):
    """What one run computes, and the tickets that were dropped while it was formed."""

    parts: list[BatchPart]  # all of one variant
    rows: int
    dropped: list[tuple[Entry, TicketStatus]]
    run_options: Any  # of ONNX Runtime; `terminate` stops the run when every caller has left


class TicketQueue(Protocol):
    """Tickets of one model. Guarded by the scheduler's lock."""

    is_iterative: bool
    """Its work is many short iterations; other queues may run between any two of them."""
    wake: threading.Condition
    is_closed: bool

    @property
    def queued_rows(self) -> int:
        """How many rows, or sequences, wait."""
        ...

    def push(self, entry: Entry) -> bool:
        """Queue a ticket; False when there is no room for it."""
        ...

    def most_urgent_ns(self) -> int | None:
        """The earliest deadline of what could run now; None when nothing could."""
        ...

    def note_cancelled(self, entries: Iterable[Entry]) -> None:
        """The callers of these tickets, queued or running, have left."""
        ...
