"""Which model of a worker uses its device next: for one batch, or for one decoding iteration."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from service.ipc.doorbell import Ticket, TicketStatus
from service.worker.batch_queue import BatchQueue
from service.worker.entries import Batch, Entry, Sender, TicketQueue

_ITERATION = Batch([], 0, [], None)
"""Stands for the running batch while an iterative queue has the device."""


class Scheduler:
    """Decides which model runs next on this worker's device; one run at a time.

    Frontend links call :meth:`put` and :meth:`cancel`. Each model has a thread of its own, which
    calls :meth:`next_batch` and :meth:`finish_run`, or :meth:`begin_iteration` and
    :meth:`end_iteration`.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._lock = threading.Lock()
        self._queues: dict[int, TicketQueue] = {}
        self._iteration_was_last = False  # the device's last work was an iteration, not a batch
        self._entries: dict[tuple[int, int], Entry] = {}  # (sender, ticket id), queued or running
        self._running: Batch | None = None
        self._is_closed = False
        self._clock_ns = clock_ns

    def open(self, model_id: int, max_batch_size: int, capacity: int) -> BatchQueue:
        """Start to accept tickets for a model."""
        queue = BatchQueue(max_batch_size, capacity, self.condition())
        self.add(model_id, queue)
        return queue

    def condition(self) -> threading.Condition:
        """For a queue's ``wake``."""
        return threading.Condition(self._lock)

    def add(self, model_id: int, queue: TicketQueue) -> None:
        """Start to accept tickets for a model into its queue; after `close_all` close it."""
        with self._lock:
            self._queues[model_id] = queue
            queue.is_closed = self._is_closed

    def close_all(self) -> None:
        """Let every model thread end; queued tickets are forgotten."""
        with self._lock:
            self._is_closed = True
            for queue in self._queues.values():
                queue.is_closed = True
                queue.wake.notify_all()

    def put(self, tickets: list[Ticket], sender: Sender) -> list[tuple[Ticket, TicketStatus]]:
        """Queue tickets of one frontend; returns those that were refused, and why."""
        refused: list[tuple[Ticket, TicketStatus]] = []
        with self._lock:
            for ticket in tickets:
                queue = self._queues.get(ticket.model_id)
                entry = Entry(ticket, sender)
                if queue is None:
                    refused.append((ticket, TicketStatus.UNKNOWN_MODEL))
                elif not queue.push(entry):
                    refused.append((ticket, TicketStatus.OVERLOADED))
                else:
                    self._entries[id(sender), ticket.id] = entry
            if self._running is None and (urgent := self._most_urgent()) is not None:
                urgent.wake.notify()
        return refused

    def cancel(self, sender: Sender, ticket_id: int | None = None) -> None:
        """Cancel one ticket of a frontend, or all of them."""
        with self._lock:
            if ticket_id is not None:
                found = self._entries.get((id(sender), ticket_id))
                entries = [found] if found and not found.is_cancelled else []
            else:
                entries = [
                    entry
                    for entry in self._entries.values()
                    if entry.sender is sender and not entry.is_cancelled
                ]
            by_model: dict[int, list[Entry]] = defaultdict(list)
            for entry in entries:
                entry.is_cancelled = True
                by_model[entry.ticket.model_id].append(entry)
            for model_id, its_own in by_model.items():
                self._queues[model_id].note_cancelled(its_own)
            running = self._running
            if running and running.parts and all(part.entry.is_cancelled for part in running.parts):
                running.run_options.terminate = True

    def next_batch(self, queue: BatchQueue) -> Batch | None:
        """Wait until this model may use the device, and form its batch.

        A batch without parts only reports dropped tickets and needs no :meth:`finish_run`.

        Returns:
            The batch; None when the model thread shall end.
        """
        with self._lock:
            while True:
                if queue.is_closed:
                    return None
                if self._running is None and self._most_urgent() is queue:
                    batch = queue.take(self._clock_ns())
                    for entry, _ in batch.dropped:
                        self._forget(entry)
                    if batch.parts:
                        self._running = batch
                        return batch
                    if batch.dropped:
                        self._wake_most_urgent(other_than=queue)
                        return batch
                queue.wake.wait()

    def finish_run(self, queue: BatchQueue, batch: Batch, run_ns: int) -> list[Entry]:
        """Free the device for the next batch.

        Returns:
            The tickets whose rows are now all computed.
        """
        finished: list[Entry] = []
        with self._lock:
            self._running = None
            self._iteration_was_last = False
            if run_ns:
                queue.note_run(run_ns)
            for entry, start, stop in batch.parts:
                entry.finished_rows += stop - start
                if entry.finished_rows == entry.ticket.rows:
                    self._forget(entry)
                    finished.append(entry)
            self._wake_most_urgent(other_than=queue)
        return finished

    def begin_iteration(self, queue: TicketQueue, timeout_s: Callable[[], float | None]) -> bool:
        """Wait until an iterative queue may use the device; False when its thread shall end.

        Args:
            queue: the one that has work.
            timeout_s: after how long to look again without a notification; called before each wait.
        """
        with self._lock:
            while not queue.is_closed:
                if (
                    self._running is None
                    and queue.most_urgent_ns() is not None
                    and self._most_urgent() is queue
                ):
                    self._running = _ITERATION
                    return True
                queue.wake.wait(timeout_s())
        return False

    def end_iteration(self, queue: TicketQueue, finished: Iterable[Entry]) -> None:
        """Free the device and forget the finished tickets."""
        with self._lock:
            self._running = None
            self._iteration_was_last = True
            for entry in finished:
                self._forget(entry)
            self._wake_most_urgent(other_than=queue)

    def queued_rows(self) -> dict[int, int]:
        """Rows that wait, by model."""
        with self._lock:
            return {model_id: queue.queued_rows for model_id, queue in self._queues.items()}

    def _most_urgent(self) -> TicketQueue | None:
        """The queue to run next: batches and iterations alternate, then the earliest deadline."""
        if len(self._queues) == 1:
            return next(iter(self._queues.values()))
        waiting = [
            (queue.is_iterative is self._iteration_was_last, deadline_ns, model_id)
            for model_id, queue in self._queues.items()
            if (deadline_ns := queue.most_urgent_ns()) is not None
        ]
        return self._queues[min(waiting)[2]] if waiting else None

    def _wake_most_urgent(self, other_than: TicketQueue) -> None:
        following = self._most_urgent()
        if following is not None and following is not other_than:
            following.wake.notify()

    def _forget(self, entry: Entry) -> None:
        del self._entries[id(entry.sender), entry.ticket.id]
