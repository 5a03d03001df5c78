"""The loop of a decoded model: admit tickets, run an iteration of the engine, report."""

import logging
import time

from service import metrics
from service.artifact.manifest import ArtifactError, Manifest
from service.ipc.doorbell import Outcome, TicketStatus
from service.settings import DecodingSettings
from service.worker.decoding.admission import AdmissionQueue
from service.worker.decoding.engine import Engine
from service.worker.decoding.state_cache import row_bytes
from service.worker.entries import Entry, OutcomesBySender
from service.worker.scheduler import Scheduler
from service.worker.session import DeviceLost, ModelSession

logger = logging.getLogger(__name__)

_METRICS_INTERVAL_NS = 250_000_000


def max_live_sequences(manifest: Manifest, settings: DecodingSettings) -> int:
    """How many sequences of a model may be live in one worker.

    Raises:
        ArtifactError: the memory is too small for one.
    """
    needed = row_bytes(manifest)
    rows = min(settings.max_live_sequences, settings.state_bytes // max(1, needed))
    if not rows:
        raise ArtifactError(
            f"the state of one sequence takes {needed} bytes, and decoding.state_bytes is"
            f" {settings.state_bytes}; raise it"
        )
    return rows


class DecodingLoop:
    """Runs iterations of the engine until the scheduler closes."""

    def __init__(
        self,
        session: ModelSession,
        scheduler: Scheduler,
        queue_capacity: int,
        settings: DecodingSettings,
        model_id: int,
    ) -> None:
        manifest = session.manifest
        max_rows = max_live_sequences(manifest, settings)
        self._scheduler = scheduler
        self._engine = Engine(session, max_rows, time.monotonic_ns)
        self._queue = AdmissionQueue(queue_capacity, max_rows, scheduler.condition())
        scheduler.add(model_id, self._queue)
        self._name, device = manifest.name, str(session.device)
        self._live_sequences = metrics.LIVE_SEQUENCES.labels(self._name)
        self._queued = metrics.QUEUED_ITEMS.labels(self._name)
        self._steps = metrics.SEQUENCE_STEPS.labels(self._name)
        self._elements_read = metrics.SEQUENCE_ELEMENTS_READ.labels(self._name)
        self._iteration_seconds = metrics.TURN_SECONDS.labels(self._name, device)
        self._iterations = metrics.TURNS.labels(self._name, device)
        self._iterations_made = self._iterations_ns = self._metrics_ns = 0

    def serve(self) -> None:
        """Run iterations until the scheduler closes."""
        queue, engine = self._queue, self._engine
        while self._scheduler.begin_iteration(queue, lambda: queue.wait_s(time.monotonic_ns())):
            started_ns = time.monotonic_ns()
            outcomes = self._iterate(started_ns)
            ended_ns = time.monotonic_ns()
            queue.free_rows = engine.max_rows - engine.reserved_rows
            queue.due_ns = ended_ns if engine.table.sequences else None
            self._scheduler.end_iteration(
                queue, [*self._finished(outcomes), *engine.follow_states.take_closed()]
            )
            self._send(outcomes)
            self._iterations_made += 1
            self._iterations_ns += ended_ns - started_ns
            if queue.due_ns is None or ended_ns - self._metrics_ns > _METRICS_INTERVAL_NS:
                self._metrics_ns = ended_ns
                self._update_metrics()

    def _iterate(self, now_ns: int) -> list[tuple[Entry, Outcome]]:
        outcomes = self._admit(now_ns)
        try:
            if self._engine.table.sequences:
                self._engine.iterate()
        except DeviceLost:  # ends the process
            raise
        except Exception as err:  # an error of the engine must not hold the device for ever
            logger.exception("a decoding iteration of %s failed", self._name)
            self._engine.fail_all(f"{type(err).__name__}: {err}")
        return outcomes + self._engine.take_outcomes()

    def _admit(self, now_ns: int) -> list[tuple[Entry, Outcome]]:
        """Admit queued tickets, and end sequences that are cancelled or have expired."""
        engine = self._engine
        admitted, dropped, may_be_stale = self._queue.take(now_ns)
        next_deadline_ns = engine.table.next_deadline_ns
        if may_be_stale or (next_deadline_ns is not None and next_deadline_ns < now_ns):
            engine.end_stale()
        for entry in admitted:
            engine.admit(entry)
        for _, status in dropped:
            metrics.DROPPED_ITEMS.labels(self._name, status.name.lower()).inc()
        return [(entry, Outcome(entry.ticket.id, status)) for entry, status in dropped]

    def _finished(self, outcomes: list[tuple[Entry, Outcome]]) -> list[Entry]:
        """Tickets to forget; the first one of an open stream is kept, because it stands for it."""
        return [
            entry
            for entry, outcome in outcomes
            if outcome.status is not TicketStatus.PROGRESS
            and not self._engine.follow_states.is_open(entry)
        ]

    def _send(self, outcomes: list[tuple[Entry, Outcome]]) -> None:
        by_sender = OutcomesBySender()
        for entry, outcome in outcomes:
            by_sender[entry.sender].append(outcome)
        by_sender.send()

    def _update_metrics(self) -> None:
        """Update the metrics a few times a second; it costs as much as a small iteration."""
        engine = self._engine
        self._live_sequences.set(engine.reserved_rows)
        self._queued.set(self._queue.queued_rows)
        self._steps.inc(engine.decoded_steps)
        self._elements_read.inc(engine.prefilled_elements)
        self._iterations.inc(self._iterations_made)
        self._iteration_seconds.inc(self._iterations_ns / 1e9)
        engine.decoded_steps = engine.prefilled_elements = 0
        self._iterations_made = self._iterations_ns = 0
