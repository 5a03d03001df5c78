"""One model in one worker: a thread that owns its session, from loading to the last run.

ONNX Runtime's CUDA sessions want to be run from one thread only (microsoft/onnxruntime#29351), so
the lane also creates the session and replays the golden inputs.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from service import metrics
from service.artifact.manifest import ArtifactError, Manifest, read_manifest
from service.ipc.arena import bytes_of
from service.ipc.control import Load, Loaded, LoadFailed
from service.ipc.doorbell import Outcome, TicketStatus
from service.ipc.slot_layout import SlotLayout, Variant
from service.settings import DecodingSettings
from service.threads import exits_process_on_error
from service.worker.batch_queue import Batch, Entry, Part, Sender
from service.worker.decoding.loop import DecodingTurns, max_live
from service.worker.golden import replay_golden
from service.worker.scheduler import Scheduler
from service.worker.session import Array, ModelSession, SessionOptions

logger = logging.getLogger(__name__)


class Lane:
    """Loads a model, reports, and runs its batches until the scheduler closes."""

    def __init__(
        self,
        order: Load,
        options: SessionOptions,
        scheduler: Scheduler,
        queue_capacity: int,
        calibration_s: float,
        decoding: DecodingSettings,
        report: Callable[[Loaded | LoadFailed], None],
    ) -> None:
        self._order = order
        self._options = options
        self._scheduler = scheduler
        self._queue_capacity = queue_capacity
        self._calibration_s = calibration_s
        self._decoding = decoding
        self._report = report
        self.has_loaded = False
        # A daemon: a run that hangs in a driver must not keep the process from ending.
        self.thread = threading.Thread(
            target=self._main,
            name=Path(order.path).parent.name,
            daemon=True,
        )

    @exits_process_on_error
    def _main(self) -> None:
        started = time.monotonic()
        try:
            session, loaded = self._load(started)
        except ArtifactError as err:
            self._report(LoadFailed(self._order.model_id, str(err)))
            return
        except Exception as err:  # a model that cannot be loaded must not take the others with it
            logger.exception("loading %s failed", self._order.path)
            self._report(LoadFailed(self._order.model_id, f"{type(err).__name__}: {err}"))
            return
        runs: _Runs | DecodingTurns
        if session.manifest.is_decoded:
            runs = DecodingTurns(
                session, self._scheduler, self._queue_capacity, self._decoding, loaded.model_id
            )
        else:
            runs = _Runs(
                session,
                loaded.best_batch_size,
                self._scheduler,
                self._queue_capacity,
                loaded.model_id,
            )
        self.has_loaded = True
        self._report(loaded)
        runs.serve()

    def _load(self, started: float) -> tuple[ModelSession, Loaded]:
        artifact_dir = Path(self._order.path)
        manifest, sha256 = read_manifest(artifact_dir)
        if sha256 != self._order.artifact_sha256:
            raise ArtifactError(
                f"{artifact_dir} was replaced while it was being loaded; load it again"
            )
        session = ModelSession(artifact_dir, manifest, self._options)
        report = replay_golden(session, artifact_dir)
        best = self._order.best_batch_size
        if manifest.is_decoded:
            max_live(manifest, self._decoding)  # refused now, or not at all
            best = session.max_batch_size
        if not best:
            budget_s = self._calibration_s
            best = session.calibrate(budget_s) if budget_s else session.max_batch_size
        session.trim_memory()
        logger.info(
            "%s/%d reproduces on %s: %d golden rows, off by at most %.1e, best batch %d",
            *(manifest.name, manifest.version, self._options.device, report.rows),
            *(report.max_absolute, best),
        )
        return session, Loaded(
            self._order.model_id,
            best,
            session.placement,
            report.max_absolute,
            time.monotonic() - started,
        )


class _Runs:
    """Takes batches from the scheduler, runs them, and writes the outputs into their slots."""

    def __init__(
        self,
        session: ModelSession,
        best_batch_size: int,
        scheduler: Scheduler,
        queue_capacity: int,
        model_id: int,
    ) -> None:
        self._session = session
        self._scheduler = scheduler
        self._queue = scheduler.open(model_id, best_batch_size, queue_capacity)
        manifest = session.manifest
        self._layout = lru_cache(maxsize=256)(partial(SlotLayout.of, manifest))
        self._batch_size = metrics.BATCH_SIZE.labels(manifest.name, str(session.device))
        self._queued = metrics.QUEUED_ITEMS.labels(manifest.name)
        self._manifest: Manifest = manifest

    def serve(self) -> None:
        """Until the scheduler closes."""
        while (batch := self._scheduler.next_batch(self._queue)) is not None:
            self._queued.set(self._queue.queued_rows)
            if batch.dropped:
                self._report_dropped(batch.dropped)
            if batch.parts:
                self._run(batch)

    def _report_dropped(self, dropped: list[tuple[Entry, TicketStatus]]) -> None:
        for entry, status in dropped:
            metrics.DROPPED_ITEMS.labels(self._manifest.name, status.name.lower()).inc(
                entry.ticket.rows
            )
            entry.sender.send_outcomes(
                [Outcome(entry.ticket.id, status, reason=entry.failure or "")]
            )

    def _run(self, batch: Batch) -> None:
        for part in batch.parts:
            part.entry.sender.arena.mark_running(part.entry.ticket.slot)
        metrics.RUNNING_ITEMS.set(batch.rows)
        started_ns = time.monotonic_ns()
        has_failed = False
        try:
            self._compute(batch.parts, batch)
        except Exception as err:  # ONNX Runtime raises a dozen types, of no common base
            has_failed = True
            self._run_one_by_one(batch, err)
        run_ns = time.monotonic_ns() - started_ns
        metrics.RUNNING_ITEMS.set(0)
        self._batch_size.observe(batch.rows)
        finished = self._scheduler.finish_run(self._queue, batch, 0 if has_failed else run_ns)
        outcomes: dict[Sender, list[Outcome]] = defaultdict(list)
        for entry in finished:
            queue_ns = max(0, started_ns - entry.ticket.submitted_ns)
            status = TicketStatus.DONE
            if entry.failure is not None:
                status = TicketStatus.CANCELLED if entry.is_cancelled else TicketStatus.FAILED
            outcomes[entry.sender].append(
                Outcome(entry.ticket.id, status, batch.rows, queue_ns, run_ns, entry.failure or "")
            )
        for sender, its_outcomes in outcomes.items():
            sender.send_outcomes(its_outcomes)

    def _run_one_by_one(self, batch: Batch, err: Exception) -> None:
        """After a run that raised: find out whose rows it was, so that only they fail.

        Raises:
            DeviceLost: nobody's; it would fail on whatever it is given.
        """
        was_told_to_stop = all(part.entry.is_cancelled for part in batch.parts)
        if not was_told_to_stop:
            logger.error("a run of %d rows of %s failed: %s", batch.rows, self._manifest.name, err)
        can_run = was_told_to_stop
        for part in batch.parts:
            if part.entry.is_cancelled or len(batch.parts) == 1:
                part.entry.failure = str(err)
                continue
            try:
                self._compute([part], None)
                can_run = True
            except Exception as own_err:
                part.entry.failure = str(own_err)
        if not can_run:
            self._session.check_device()

    def _compute(self, parts: list[Part], batch: Batch | None) -> None:
        inputs, rows = self._gather(parts)
        run_options = batch.run_options if batch else None
        with_optional = Variant.of(parts[0].entry.ticket.variant).with_optional
        outputs = self._session.run(inputs, rows, run_options, with_optional=with_optional)
        self._scatter(parts, outputs)

    def _gather(self, parts: list[Part]) -> tuple[Sequence[Array], int]:
        """The rows of all parts, gathered; those of a single request stay where they lie."""
        if len(parts) == 1:
            ((entry, start, stop),) = parts
            layout = self._layout(entry.ticket.slot_rows, entry.ticket.variant)
            arena = entry.sender.arena
            views = [arena.tensor(entry.ticket.slot, place)[start:stop] for place in layout.inputs]
            return views, stop - start
        staging = self._session.staging(Variant.of(parts[0].entry.ticket.variant).bucket)
        flat = [bytes_of(array) for array in staging]
        position = 0
        for entry, start, stop in parts:
            ticket, arena = entry.ticket, entry.sender.arena
            after = position + stop - start
            layout = self._layout(ticket.slot_rows, ticket.variant)
            for staged, place in zip(flat, layout.inputs, strict=True):
                size = place.row_bytes
                staged[position * size : after * size] = arena.rows(ticket.slot, place, start, stop)
            position = after
        return staging, position

    def _scatter(self, parts: list[Part], outputs: Sequence[Array]) -> None:
        flat = [bytes_of(np.ascontiguousarray(output)) for output in outputs]
        position = 0
        for entry, start, stop in parts:
            ticket, arena = entry.ticket, entry.sender.arena
            after = position + stop - start
            layout = self._layout(ticket.slot_rows, ticket.variant)
            for output, place in zip(flat, layout.outputs, strict=True):
                size = place.row_bytes
                arena.rows(ticket.slot, place, start, stop)[:] = output[
                    position * size : after * size
                ]
            position = after
