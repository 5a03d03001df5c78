"""Which model of a worker has its device next: one run, or one short turn, at a time."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from service.ipc.doorbell import Ticket, TicketStatus
from service.worker.batch_queue import Batch, Entry, ModelQueue, Sender, TicketQueue

_TURN = Batch([], 0, [], None)
"""What is running when a queue has a turn."""


class Scheduler:
    """Decides which model runs next on this worker's device; one run at a time.

    Receivers call :meth:`put` and :meth:`cancel`; each model's lane, a thread of its own, calls
    :meth:`next_batch` and :meth:`finish_run`.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._lock = threading.Lock()
        self._queues: dict[int, TicketQueue] = {}
        self._turn_was_last = False  # the device's last work was a turn, not a run
        self._live: dict[tuple[int, int], Entry] = {}  # (sender, ticket id), queued or running
        self._running: Batch | None = None
        self._is_closed = False
        self._clock_ns = clock_ns

    def open(self, model_id: int, max_batch_size: int, capacity: int) -> ModelQueue:
        """Start to accept tickets for a model."""
        queue = ModelQueue(max_batch_size, capacity, self.condition())
        self.add(model_id, queue)
        return queue

    def condition(self) -> threading.Condition:
        """For a queue's ``wake``."""
        return threading.Condition(self._lock)

    def add(self, model_id: int, queue: TicketQueue) -> None:
        """Start to accept tickets for a model into its queue; none once all are closed."""
        with self._lock:
            self._queues[model_id] = queue
            queue.is_closed = self._is_closed

    def close_all(self) -> None:
        """Let every lane end; queued tickets are forgotten."""
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
                    self._live[id(sender), ticket.id] = entry
            if self._running is None and (urgent := self._most_urgent()) is not None:
                urgent.wake.notify()
        return refused

    def cancel(self, sender: Sender, ticket_id: int | None = None) -> None:
        """Mark one ticket of a frontend, or all of them, as wanted by nobody."""
        with self._lock:
            if ticket_id is not None:
                found = self._live.get((id(sender), ticket_id))
                entries = [found] if found and not found.is_cancelled else []
            else:
                entries = [
                    entry
                    for entry in self._live.values()
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

    def next_batch(self, queue: ModelQueue) -> Batch | None:
        """Wait for the device's turn for this model, and form its batch.

        None when the lane shall end.

        A batch without parts only reports dropped tickets and needs no :meth:`finish_run`.
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

    def finish_run(self, queue: ModelQueue, batch: Batch, run_ns: int) -> list[Entry]:
        """Free the device for the next batch.

        Returns:
            The tickets all of whose rows are computed.
        """
        finished: list[Entry] = []
        with self._lock:
            self._running = None
            self._turn_was_last = False
            if run_ns:
                queue.note_run(run_ns)
            for entry, start, stop in batch.parts:
                entry.finished_rows += stop - start
                if entry.finished_rows == entry.ticket.rows:
                    self._forget(entry)
                    finished.append(entry)
            self._wake_most_urgent(other_than=queue)
        return finished

    def begin_turn(self, queue: TicketQueue, timeout_s: Callable[[], float | None]) -> bool:
        """Wait until a queue that takes turns has one; False when its lane shall end.

        Args:
            queue: with work to do.
            timeout_s: after how long to look again though nothing was heard; asked anew each time.
        """
        with self._lock:
            while not queue.is_closed:
                if (
                    self._running is None
                    and queue.most_urgent_ns() is not None
                    and self._most_urgent() is queue
                ):
                    self._running = _TURN
                    return True
                queue.wake.wait(timeout_s())
        return False

    def end_turn(self, queue: TicketQueue, finished: Iterable[Entry]) -> None:
        """Free the device; these tickets are finished."""
        with self._lock:
            self._running = None
            self._turn_was_last = True
            for entry in finished:
                self._forget(entry)
            self._wake_most_urgent(other_than=queue)

    def queued_rows(self) -> dict[int, int]:
        """Rows that wait, by model."""
        with self._lock:
            return {model_id: queue.queued_rows for model_id, queue in self._queues.items()}

    def _most_urgent(self) -> TicketQueue | None:
        if len(self._queues) == 1:
            return next(iter(self._queues.values()))
        waiting = [
            (queue.takes_turns is self._turn_was_last, deadline_ns, model_id)
            for model_id, queue in self._queues.items()
            if (deadline_ns := queue.most_urgent_ns()) is not None
        ]
        return self._queues[min(waiting)[2]] if waiting else None

    def _wake_most_urgent(self, other_than: TicketQueue) -> None:
        following = self._most_urgent()
        if following is not None and following is not other_than:
            following.wake.notify()

    def _forget(self, entry: Entry) -> None:
        del self._live[id(entry.sender), entry.ticket.id]
