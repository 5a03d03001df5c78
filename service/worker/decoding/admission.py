"""Tickets that wait for a place among the live sequences of one model."""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Iterable

from service.ipc.doorbell import TicketStatus
from service.worker.batch_queue import Entry


class DecodingQueue:
    """By deadline. Guarded by the scheduler's lock, which is ``wake``'s.

    A ticket's ``cache_rows`` says how many rows it takes; one that continues a ``Follow`` takes
    none, because its stream has one, and does not wait behind those that need one.

    Attributes:
        due_ns: since when the live sequences could make their next step; None: nobody is live.
        free_seats: how many are.
    """

    takes_turns = True

    def __init__(self, capacity: int, seats: int, wake: threading.Condition) -> None:
        self.wake = wake
        self.is_closed = False
        self.due_ns: int | None = None
        self.free_seats = seats
        self._seats = seats
        self._capacity = capacity
        self._heap: list[tuple[int, int, Entry]] = []
        self._seated: deque[Entry] = deque()
        self._order = itertools.count()
        self._is_news = False

    @property
    def queued_rows(self) -> int:
        """Sequences that wait."""
        return len(self._heap) + len(self._seated)

    def push(self, entry: Entry) -> bool:
        """Queue a ticket; False when there is no room for it, or never will be."""
        ticket = entry.ticket
        if not ticket.cache_rows:
            self._seated.append(entry)
        elif ticket.cache_rows > self._seats or len(self._heap) >= self._capacity:
            return False
        else:
            heapq.heappush(self._heap, (ticket.deadline_ns, next(self._order), entry))
        return True

    def note_cancelled(self, entries: Iterable[Entry]) -> None:
        """Some who wait or are live have left: have a turn to let them go."""
        self._is_news = True
        self.wake.notify()

    def most_urgent_ns(self) -> int | None:
        """Since when there is something to do; None when there is nothing."""
        if self.due_ns is not None:
            return self.due_ns
        if self._is_news or self._seated:
            return 0
        if self._heap and self._heap[0][2].ticket.cache_rows <= self.free_seats:
            return 0
        return None

    def wait_s(self, now_ns: int) -> float | None:
        """How long it may be left alone: until a deadline of one who waits for a seat."""
        if not self._heap:
            return None
        remaining_s = (self._heap[0][0] - now_ns) / 1e9
        if remaining_s <= 0:
            self._is_news = True
        return max(0.001, remaining_s)

    def take(self, now_ns: int) -> tuple[list[Entry], list[tuple[Entry, TicketStatus]], bool]:
        """Those who have a seat now.

        Returns:
            Newcomers; those who are dropped; whether live ones may have left.
        """
        with self.wake:
            return self._take(now_ns)

    def _take(self, now_ns: int) -> tuple[list[Entry], list[tuple[Entry, TicketStatus]], bool]:
        dropped: list[tuple[Entry, TicketStatus]] = []
        newcomers = [each for each in self._seated if not _drop(each, dropped)]
        self._seated.clear()
        is_news, self._is_news = self._is_news, False
        if is_news and self._heap:
            self._heap = [each for each in self._heap if not _drop(each[2], dropped)]
            heapq.heapify(self._heap)
        while self._heap:
            entry = self._heap[0][2]
            if entry.is_cancelled or entry.ticket.deadline_ns < now_ns:
                status = TicketStatus.CANCELLED if entry.is_cancelled else TicketStatus.EXPIRED
                dropped.append((entry, status))
            elif entry.ticket.cache_rows <= self.free_seats:
                self.free_seats -= entry.ticket.cache_rows
                newcomers.append(entry)
            else:
                break
            heapq.heappop(self._heap)
        return newcomers, dropped, is_news


def _drop(entry: Entry, dropped: list[tuple[Entry, TicketStatus]]) -> bool:
    if entry.is_cancelled:
        dropped.append((entry, TicketStatus.CANCELLED))
    return entry.is_cancelled
