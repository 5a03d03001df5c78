"""The decoding engine's part of a lane: turns on the device, news to those who asked."""

import logging
import time
from collections import defaultdict

from service import metrics
from service.artifact.manifest import ArtifactError, Manifest
from service.ipc.doorbell import Outcome, TicketStatus
from service.settings import DecodingSettings
from service.worker.batch_queue import Entry, Sender
from service.worker.decoding.admission import DecodingQueue
from service.worker.decoding.engine import Engine
from service.worker.decoding.state_cache import row_bytes
from service.worker.scheduler import Scheduler
from service.worker.session import DeviceLost, ModelSession

logger = logging.getLogger(__name__)

_METRICS_INTERVAL_NS = 250_000_000


def max_live(manifest: Manifest, settings: DecodingSettings) -> int:
    """How many sequences of a model may be live in one worker.

    Raises:
        ArtifactError: the memory does not suffice for one.
    """
    needed = row_bytes(manifest)
    rows = min(settings.max_live_sequences, settings.state_bytes // max(1, needed))
    if not rows:
        raise ArtifactError(
            f"the state of one sequence takes {needed} bytes, and decoding.state_bytes is"
            f" {settings.state_bytes}; raise it"
        )
    return rows


class DecodingTurns:
    """Takes turns and gives them to the engine, until the scheduler closes."""

    def __init__(
        self,
        session: ModelSession,
        scheduler: Scheduler,
        queue_capacity: int,
        settings: DecodingSettings,
        model_id: int,
    ) -> None:
        manifest = session.manifest
        seats = max_live(manifest, settings)
        self._scheduler = scheduler
        self._engine = Engine(session, seats, time.monotonic_ns)
        self._queue = DecodingQueue(queue_capacity, seats, scheduler.condition())
        scheduler.add(model_id, self._queue)
        self._name, device = manifest.name, str(session.device)
        self._sequences = metrics.LIVE_SEQUENCES.labels(self._name)
        self._queued = metrics.QUEUED_ITEMS.labels(self._name)
        self._steps = metrics.SEQUENCE_STEPS.labels(self._name)
        self._read = metrics.SEQUENCE_ELEMENTS_READ.labels(self._name)
        self._turn_s = metrics.TURN_SECONDS.labels(self._name, device)
        self._turns = metrics.TURNS.labels(self._name, device)
        self._turns_made = self._turns_ns = self._told_ns = 0

    def serve(self) -> None:
        """Until the scheduler closes."""
        queue, engine = self._queue, self._engine
        while self._scheduler.begin_turn(queue, lambda: queue.wait_s(time.monotonic_ns())):
            started_ns = time.monotonic_ns()
            outcomes = self._take_turn(started_ns)
            ended_ns = time.monotonic_ns()
            queue.free_seats = engine.max_seats - engine.seats
            queue.due_ns = ended_ns if engine.rows.lives else None
            self._scheduler.end_turn(
                queue, [*self._finished(outcomes), *engine.followed.take_closed()]
            )
            self._tell(outcomes)
            self._turns_made += 1
            self._turns_ns += ended_ns - started_ns
            if queue.due_ns is None or ended_ns - self._told_ns > _METRICS_INTERVAL_NS:
                self._told_ns = ended_ns
                self._count()

    def _take_turn(self, now_ns: int) -> list[tuple[Entry, Outcome]]:
        outcomes = self._admit(now_ns)
        try:
            if self._engine.rows.lives:
                self._engine.turn()
        except DeviceLost:  # ends the process
            raise
        except Exception as err:  # a mistake here must not hold the device for ever
            logger.exception("a turn of %s failed", self._name)
            self._engine.abandon(f"{type(err).__name__}: {err}")
        return outcomes + self._engine.take_outcomes()

    def _admit(self, now_ns: int) -> list[tuple[Entry, Outcome]]:
        """Newcomers in, and those out whose time is over or who left."""
        engine = self._engine
        newcomers, dropped, is_news = self._queue.take(now_ns)
        next_deadline_ns = engine.rows.next_deadline_ns
        if is_news or (next_deadline_ns is not None and next_deadline_ns < now_ns):
            engine.sweep()
        for entry in newcomers:
            engine.join(entry)
        for _, status in dropped:
            metrics.DROPPED_ITEMS.labels(self._name, status.name.lower()).inc()
        return [(entry, Outcome(entry.ticket.id, status)) for entry, status in dropped]

    def _finished(self, outcomes: list[tuple[Entry, Outcome]]) -> list[Entry]:
        """Tickets that can be forgotten; a stream's first one can not, for it stands for it."""
        return [
            entry
            for entry, outcome in outcomes
            if outcome.status is not TicketStatus.PROGRESS
            and not self._engine.followed.is_open(entry)
        ]

    def _tell(self, outcomes: list[tuple[Entry, Outcome]]) -> None:
        by_sender: dict[Sender, list[Outcome]] = defaultdict(list)
        for entry, outcome in outcomes:
            by_sender[entry.sender].append(outcome)
        for sender, its_outcomes in by_sender.items():
            sender.send_outcomes(its_outcomes)

    def _count(self) -> None:
        """Write what was counted: a few times a second, for it costs as much as a small turn."""
        engine = self._engine
        self._sequences.set(engine.seats)
        self._queued.set(self._queue.queued_rows)
        self._steps.inc(engine.steps_made)
        self._read.inc(engine.elements_read)
        self._turns.inc(self._turns_made)
        self._turn_s.inc(self._turns_ns / 1e9)
        engine.steps_made = engine.elements_read = 0
        self._turns_made = self._turns_ns = 0
