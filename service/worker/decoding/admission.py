"""Admission: tickets that wait until rows of the state cache are free for them."""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Iterable

from service.ipc.doorbell import TicketStatus
from service.worker.entries import Entry


class AdmissionQueue:
    """Tickets of one decoded model, by deadline. Guarded by the scheduler's lock.

    A ticket's ``cache_rows`` says how many rows it takes. A ticket that continues a ``Follow``
    takes none, because its stream holds a row; it does not wait behind those that need rows.

    Attributes:
        due_ns: since when the live sequences could make their next step; None: there are none.
        free_rows: rows of the cache that no sequence and no stream holds.
    """

    is_iterative = True

    def __init__(self, capacity: int, max_rows: int, wake: threading.Condition) -> None:
        self.wake = wake
        self.is_closed = False
        self.due_ns: int | None = None
        self.free_rows = max_rows
        self._max_rows = max_rows
        self._capacity = capacity
        self._heap: list[tuple[int, int, Entry]] = []
        self._without_rows: deque[Entry] = deque()  # tickets that need no row
        self._order = itertools.count()
        self._may_be_stale = False  # some tickets, queued or live, were cancelled or have expired

    @property
    def queued_rows(self) -> int:
        """How many sequences wait."""
        return len(self._heap) + len(self._without_rows)

    def push(self, entry: Entry) -> bool:
        """Queue a ticket; False when there is no room for it, or never will be."""
        ticket = entry.ticket
        if not ticket.cache_rows:
            self._without_rows.append(entry)
        elif ticket.cache_rows > self._max_rows or len(self._heap) >= self._capacity:
            return False
        else:
            heapq.heappush(self._heap, (ticket.deadline_ns, next(self._order), entry))
        return True

    def note_cancelled(self, entries: Iterable[Entry]) -> None:
        """Ask for an iteration, in which the cancelled tickets are dropped."""
        self._may_be_stale = True
        self.wake.notify()

    def most_urgent_ns(self) -> int | None:
        """Since when there is something to do; None when there is nothing."""
        if self.due_ns is not None:
            return self.due_ns
        if self._may_be_stale or self._without_rows:
            return 0
        if self._heap and self._heap[0][2].ticket.cache_rows <= self.free_rows:
            return 0
        return None

    def wait_s(self, now_ns: int) -> float | None:
        """How long to wait at most: until the first deadline of a queued ticket."""
        if not self._heap:
            return None
        remaining_s = (self._heap[0][0] - now_ns) / 1e9
        if remaining_s <= 0:
            self._may_be_stale = True
        return max(0.001, remaining_s)

    def take(self, now_ns: int) -> tuple[list[Entry], list[tuple[Entry, TicketStatus]], bool]:
        """Admit tickets for which rows are free.

        Returns:
            The admitted tickets; the dropped ones; whether live sequences may be cancelled.
        """
        with self.wake:
            return self._take(now_ns)

    def _take(self, now_ns: int) -> tuple[list[Entry], list[tuple[Entry, TicketStatus]], bool]:
        dropped: list[tuple[Entry, TicketStatus]] = []
        admitted = [each for each in self._without_rows if not _drop(each, dropped)]
        self._without_rows.clear()
        may_be_stale, self._may_be_stale = self._may_be_stale, False
        if may_be_stale and self._heap:
            self._heap = [each for each in self._heap if not _drop(each[2], dropped)]
            heapq.heapify(self._heap)
        while self._heap:
            entry = self._heap[0][2]
            if entry.is_cancelled or entry.ticket.deadline_ns < now_ns:
                status = TicketStatus.CANCELLED if entry.is_cancelled else TicketStatus.EXPIRED
                dropped.append((entry, status))
            elif entry.ticket.cache_rows <= self.free_rows:
                self.free_rows -= entry.ticket.cache_rows
                admitted.append(entry)
            else:
                break
            heapq.heappop(self._heap)
        return admitted, dropped, may_be_stale


def _drop(entry: Entry, dropped: list[tuple[Entry, TicketStatus]]) -> bool:
    if entry.is_cancelled:
        dropped.append((entry, TicketStatus.CANCELLED))
    return entry.is_cancelled
