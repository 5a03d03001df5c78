"""The loop of a model that is not decoded: form a batch, run it, write the outputs, report."""

import logging
import time
from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np

from service import metrics
from service.artifact.manifest import Manifest
from service.ipc.arena import bytes_of
from service.ipc.doorbell import Outcome, TicketStatus
from service.ipc.slot_layout import SlotLayout, Variant
from service.worker.entries import Batch, BatchPart, Entry, OutcomesBySender
from service.worker.scheduler import Scheduler
from service.worker.session import Array, ModelSession

logger = logging.getLogger(__name__)


class BatchLoop:
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
        """Run batches until the scheduler closes."""
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
        except Exception as err:  # ONNX Runtime raises many types without a common base
            has_failed = True
            self._run_one_by_one(batch, err)
        run_ns = time.monotonic_ns() - started_ns
        metrics.RUNNING_ITEMS.set(0)
        self._batch_size.observe(batch.rows)
        finished = self._scheduler.finish_run(self._queue, batch, 0 if has_failed else run_ns)
        outcomes = OutcomesBySender()
        for entry in finished:
            queue_ns = max(0, started_ns - entry.ticket.submitted_ns)
            status = TicketStatus.DONE
            if entry.failure is not None:
                status = TicketStatus.CANCELLED if entry.is_cancelled else TicketStatus.FAILED
            outcomes[entry.sender].append(
                Outcome(entry.ticket.id, status, batch.rows, queue_ns, run_ns, entry.failure or "")
            )
        outcomes.send()

    def _run_one_by_one(self, batch: Batch, err: Exception) -> None:
        """Run each part of a failed batch alone, so that only tickets with bad rows fail.

        Raises:
            DeviceLost: no ticket is the cause; the device fails on any input.
        """
        was_terminated = all(part.entry.is_cancelled for part in batch.parts)
        if not was_terminated:
            logger.error("a run of %d rows of %s failed: %s", batch.rows, self._manifest.name, err)
        can_run = was_terminated
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

    def _compute(self, parts: list[BatchPart], batch: Batch | None) -> None:
        inputs, rows = self._gather(parts)
        run_options = batch.run_options if batch else None
        with_optional = Variant.of(parts[0].entry.ticket.variant).with_optional
        outputs = self._session.run(inputs, rows, run_options, with_optional=with_optional)
        self._scatter(parts, outputs)

    def _gather(self, parts: list[BatchPart]) -> tuple[Sequence[Array], int]:
        """The rows of all parts, gathered; rows of a single part are read in their slot."""
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

    def _scatter(self, parts: list[BatchPart], outputs: Sequence[Array]) -> None:
        """Write the rows of the outputs into the slots of their tickets."""
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
