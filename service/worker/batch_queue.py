"""The queue of one model in a worker, and how batches are formed from it.

A batch is formed only when the device is free, so batches grow with the load. The ticket with the
earliest deadline runs first. Tickets that were cancelled, and those that can no longer meet their
deadline, are dropped one by one; the rest of the batch runs.
"""

import heapq
import itertools
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from service.ipc.doorbell import TicketStatus
from service.worker.entries import Batch, BatchPart, Entry

ort: Any = onnxruntime  # it has no types to check against


class BatchQueue:
    """Tickets of one model, by variant and deadline. Guarded by the scheduler's lock."""

    is_iterative = False

    def __init__(self, max_batch_size: int, capacity: int, wake: threading.Condition) -> None:
        self.max_batch_size = max_batch_size
        self.wake = wake
        self.is_closed = False
        self.queued_rows = 0
        self._fastest_run_ns = 0  # of recent runs; no ticket is promised a faster one
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
        """Count these tickets as no load; they are dropped when they reach the front."""
        self._cancelled_rows += sum(each.ticket.rows - each.taken_rows for each in entries)

    def note_run(self, run_ns: int) -> None:
        """Learn from the time that a run of any size took."""
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
        """Form the next batch of up to ``max_batch_size`` rows; it may be empty."""
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
            batch.parts.append(BatchPart(entry, entry.taken_rows, entry.taken_rows + count))
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
        """Lower the bar after a ticket was dropped that a faster run could have served.

        The recent runs may all have been slow. After some drops a ticket is tried again, and its
        run sets the new value.
        """
        self._fastest_run_ns -= self._fastest_run_ns // 8
        self._is_doubted = True

    def _pop(self, heap: list[tuple[int, int, Entry]], rows: int) -> None:
        entry = heapq.heappop(heap)[2]
        self.queued_rows -= rows
        if entry.is_cancelled:
            self._cancelled_rows -= rows
