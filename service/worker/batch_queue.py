"""The queue of one model in a worker, and how batches are formed from it.

A batch is formed only when the device is free, so load makes batches larger. The most urgent
deadline goes first; callers who have left, and those whose deadline cannot be met any more, are
dropped one by one, never with the batch.
"""

import heapq
import itertools
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from service.ipc.arena import Arena
from service.ipc.doorbell import Outcome, Ticket, TicketStatus

ort: Any = onnxruntime  # it has no types to check against


class Sender(Protocol):
    """The frontend a ticket came from."""

    @property
    def arena(self) -> Arena:
        """Where its rows are."""
        ...

    def send_outcomes(self, outcomes: list[Outcome]) -> None:
        """Tell the frontend how its tickets ended."""


class Entry:
    """A ticket in the queue or in a run."""

    __slots__ = ("failure", "finished_rows", "is_cancelled", "sender", "taken_rows", "ticket")

    def __init__(self, ticket: Ticket, sender: Sender) -> None:
        self.ticket = ticket
        self.sender = sender
        self.taken_rows = (
            0  # rows that went into a run already: a ticket may be larger than a batch
        )
        self.finished_rows = 0
        self.is_cancelled = False
        self.failure: str | None = None  # of any run that had rows of it


class Part(NamedTuple):
    """Rows ``start:stop`` of one ticket, in one batch."""

    entry: Entry
    start: int
    stop: int


class Batch(NamedTuple):
    """What one run computes, and which tickets were dropped on the way."""

    parts: list[Part]  # all of one variant
    rows: int
    dropped: list[tuple[Entry, TicketStatus]]
    run_options: Any  # ONNX Runtime's: its `terminate` stops the run when every caller has left


class TicketQueue(Protocol):
    """Tickets of one model. Guarded by the scheduler's lock."""

    takes_turns: bool
    """It has work for many short turns, and lets the others have every other one."""
    wake: threading.Condition
    is_closed: bool

    @property
    def queued_rows(self) -> int:
        """How many wait."""
        ...

    def push(self, entry: Entry) -> bool:
        """Queue a ticket; False when there is no room for it."""
        ...

    def most_urgent_ns(self) -> int | None:
        """The earliest deadline of what could run now; None when there is nothing."""
        ...

    def note_cancelled(self, entries: Iterable[Entry]) -> None:
        """These of its entries, queued or in a run, are wanted by nobody any more."""
        ...


class ModelQueue:
    """Tickets of one model, by variant and deadline. Guarded by the scheduler's lock."""

    takes_turns = False

    def __init__(self, max_batch_size: int, capacity: int, wake: threading.Condition) -> None:
        self.max_batch_size = max_batch_size
        self.wake = wake
        self.is_closed = False
        self.queued_rows = 0
        self._fastest_run_ns = 0  # of those lately: no run can be promised to be faster
        self._is_doubted = False
        self._capacity = capacity
        self._cancelled_rows = 0  # of the queued ones
        self._heaps: dict[int, list[tuple[int, int, Entry]]] = defaultdict(list)
        self._order = itertools.count()

    def push(self, entry: Entry) -> bool:
        """Queue a ticket; False when there is no room for its rows."""
        rows = entry.ticket.rows
        wanted_rows = self.queued_rows - self._cancelled_rows
        if wanted_rows and wanted_rows + rows > self._capacity:
            return False
        self.queued_rows += rows
        heap = self._heaps[entry.ticket.variant]
        heapq.heappush(heap, (entry.ticket.deadline_ns, next(self._order), entry))
        return True

    def note_cancelled(self, entries: Iterable[Entry]) -> None:
        """They are dropped when their turn comes, and until then take no room."""
        self._cancelled_rows += sum(each.ticket.rows - each.taken_rows for each in entries)

    def note_run(self, run_ns: int) -> None:
        """A run of any size took so long."""
        if self._is_doubted or not self._fastest_run_ns or run_ns < self._fastest_run_ns:
            self._fastest_run_ns = run_ns
            self._is_doubted = False

    def most_urgent_ns(self) -> int | None:
        """The earliest deadline in the queue; None when it is empty."""
        heap = self._most_urgent_heap()
        return heap[0][0] if heap else None

    def _most_urgent_heap(self) -> list[tuple[int, int, Entry]]:
        if len(self._heaps) == 1:
            return next(iter(self._heaps.values()))
        nothing: list[tuple[int, int, Entry]] = []
        return min((heap for heap in self._heaps.values() if heap), default=nothing)

    def take(self, now_ns: int) -> Batch:
        """Form the next batch: up to ``max_batch_size`` rows; empty when nobody is left."""
        batch = Batch([], 0, [], ort.RunOptions())
        heap = self._most_urgent_heap()
        rows = 0
        while heap and rows < self.max_batch_size:
            entry = heap[0][2]
            ticket = entry.ticket
            remaining = ticket.rows - entry.taken_rows
            status = self._reason_to_drop(entry, now_ns)
            if status is not None:
                self._pop(heap, remaining)
                if status is TicketStatus.EXPIRED and now_ns < ticket.deadline_ns:
                    self._doubt_fastest_run()
                batch.dropped.append((entry, status))
                continue
            if ticket.alone and batch.parts:
                break
            count = min(remaining, self.max_batch_size - rows)
            batch.parts.append(Part(entry, entry.taken_rows, entry.taken_rows + count))
            entry.taken_rows += count
            rows += count
            if count == remaining:
                self._pop(heap, count)
            else:
                self.queued_rows -= count
            if ticket.alone:
                break
        return batch._replace(rows=rows)

    def _reason_to_drop(self, entry: Entry, now_ns: int) -> TicketStatus | None:
        if entry.is_cancelled:
            return TicketStatus.CANCELLED
        if entry.failure is not None:
            return TicketStatus.FAILED
        remaining_ns = entry.ticket.deadline_ns - now_ns
        return None if remaining_ns >= self._fastest_run_ns else TicketStatus.EXPIRED

    def _doubt_fastest_run(self) -> None:
        """After a refusal that another run might have made needless: those may have been slow ones.

        Each lowers the bar, so that sooner or later one is tried, and tells.
        """
        self._fastest_run_ns -= self._fastest_run_ns // 8
        self._is_doubted = True

    def _pop(self, heap: list[tuple[int, int, Entry]], rows: int) -> None:
        entry = heapq.heappop(heap)[2]
        self.queued_rows -= rows
        if entry.is_cancelled:
            self._cancelled_rows -= rows
