"""The decoding engine: in each iteration the live sequences of one model share forward runs.

An iteration is either prefill (it reads a chunk of one group of histories) or a decode step (one
element of every sequence that steps). While both are needed they alternate, so an admitted sequence
has its first step before the others make their next one. Sequences come and go between iterations.
`DecodingLoop` decides when the device is free and which tickets are admitted.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.ipc.doorbell import Outcome, TicketStatus
from service.ipc.sequence_slot import ElementLayout, FinishReason, SequenceSlot
from service.worker.decoding.follow_states import FollowStates
from service.worker.decoding.live_sequence import LiveSequence
from service.worker.decoding.model_runner import FailedRun, ModelRunner, Runnable
from service.worker.decoding.output import StepOutput
from service.worker.decoding.prefill import ChunkedPrefill, PiggybackedPrefill
from service.worker.decoding.row_table import RowTable
from service.worker.decoding.state_cache import Snapshot
from service.worker.decoding.step_batch import StepBatch
from service.worker.entries import Entry
from service.worker.session import Array


class Engine:
    """All live sequences of one model on one device.

    Args:
        session: runs the model.
        max_rows: rows of the state cache.
        clock_ns: CLOCK_MONOTONIC.

    Attributes:
        table: the live sequences, by row.
        follow_states: the open ``Follow`` streams.
        reserved_rows: rows that tickets and open streams hold; a beam search that has not forked
            yet holds more than it uses.
        decoded_steps: steps made since the loop last reset the number.
        prefilled_elements: elements of histories read since then.
    """

    def __init__(self, session: Runnable, max_rows: int, clock_ns: Callable[[], int]) -> None:
        manifest = session.manifest
        section = manifest.sequence
        assert section is not None
        self._session = session
        self._section = section
        self._clock_ns = clock_ns
        output_size = manifest.outputs[0].axes[-1]
        assert isinstance(output_size, int)
        self.element_layout = ElementLayout.of(section, output_size)
        self._vocabulary_size = output_size
        self.table = RowTable(manifest, self.element_layout, max_rows)
        self._runner = ModelRunner(session, self.table)
        self._piggybacked = PiggybackedPrefill(self.table, section)
        self._output = StepOutput(self.table, section, self._finish)
        self._prefill = ChunkedPrefill(manifest, self.table, session.max_batch_size)
        self._step_batch, self._step_batch_version = StepBatch([]), -1
        self._iteration = 0
        self._was_prefill = False  # the last iteration
        self._outcomes: list[tuple[Entry, Outcome]] = []
        self.follow_states = FollowStates()
        self.max_rows = max_rows
        self.reserved_rows = 0
        self.decoded_steps = self.prefilled_elements = 0

    # -- which sequences are live

    def admit(self, entry: Entry) -> None:
        """Make a ticket a live sequence; its rows must be free."""
        ticket, sender = entry.ticket, entry.sender
        slot = SequenceSlot.read(sender.arena.bytes, ticket.slot, self.element_layout)
        plan = slot.layout.plan
        snapshot: Snapshot | None = None
        if plan.opens_stream:
            self.follow_states.open(entry)
        elif plan.stream:
            if not self.follow_states.knows(sender, plan.stream):
                self._outcomes.append((entry, Outcome(ticket.id, TicketStatus.STATE_LOST)))
                return
            snapshot = self.follow_states.state(sender, plan.stream)
        self.reserved_rows += ticket.cache_rows
        sequence = LiveSequence(
            entry, slot, self._vocabulary_size, self._clock_ns(), self._iteration
        )
        self.table.add(sequence, snapshot)
        finish_reason = self._output.admit(sequence)
        if finish_reason is not FinishReason.OPEN:
            self._finish(sequence, TicketStatus.DONE, finish_reason)
        else:
            self._step_or_wait(sequence)

    def end_stale(self) -> None:
        """End sequences and streams that are cancelled, or whose deadline has passed."""
        now_ns = self._clock_ns()
        for sequence in list(self.table.sequences):
            if sequence.row < 0:  # a beam that ended with another beam of its search
                continue
            if sequence.entry.is_cancelled:
                self._finish(sequence, TicketStatus.CANCELLED)
            elif sequence.entry.ticket.deadline_ns < now_ns:
                self._finish(sequence, TicketStatus.EXPIRED)
        live = {each.entry for each in self.table.sequences}
        self.reserved_rows -= self.follow_states.close_cancelled(live)

    def fail_all(self, reason: str) -> None:
        """End every sequence after an error of the engine itself; no row can be trusted."""
        for sequence in list(self.table.sequences):
            if sequence.row >= 0:
                self._finish(sequence, TicketStatus.FAILED, reason=reason)

    def take_outcomes(self) -> list[tuple[Entry, Outcome]]:
        """Outcomes to report since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    # -- one iteration

    def iterate(self) -> None:
        """Read a chunk of a group of histories, or make a decode step of all that can step."""
        self._iteration += 1
        stepping_count = self.table.stepping_count
        needs_prefill = len(self.table.sequences) > stepping_count
        self._was_prefill = needs_prefill and not (self._was_prefill and stepping_count)
        if self._was_prefill:
            self._prefill_chunk()
        elif stepping_count:
            self._decode_step()
        self._outcomes += self._output.take_progress()

    def _prefill_chunk(self) -> None:
        """Read up to a chunk of the history that has waited longest, and of similar ones."""
        waiting = self.table.sequences[self.table.stepping_count :]
        first = min(waiting, key=lambda sequence: sequence.last_served)
        read = 0
        while first.row >= self.table.stepping_count:
            size = self._prefill.next_size(first)
            if read + size > self._prefill.largest:
                break
            read += size
            if not self._prefill_group(self._prefill.group(first, size), size):
                break

    def _prefill_group(self, group: list[LiveSequence], size: int) -> bool:
        """Read ``size`` elements of each; False when the run failed."""
        start, stop = group[0].row, group[-1].row + 1
        elements, lengths = self._prefill.elements_of(group, size)
        for sequence in group:
            sequence.mark_running()
        outputs = self._run(start, stop, elements)
        if outputs is None:
            return False
        self.table.cache.store(outputs, start, stop)
        self.table.cache.position[start:stop] += lengths
        self.prefilled_elements += sum(lengths)
        for sequence, length in zip(group, lengths, strict=True):
            sequence.prefilled += length
            sequence.last_served = self._iteration
        done = [sequence for sequence in group if not sequence.history_left]
        if done:
            last = [(each.row - start, lengths[each.row - start] - 1) for each in done]
            self._write(StepBatch(done), np.stack([outputs[0][row, time] for row, time in last]))
        for sequence in group:
            if sequence.row >= 0:
                self._step_or_wait(sequence)
        return True

    def _step_or_wait(self, sequence: LiveSequence) -> None:
        """Let it step if its next run reads one element; otherwise it waits for prefill."""
        if self.table.is_stepping(sequence):
            return
        if sequence.history_left and self._prefill.next_size(sequence) > 1:
            sequence.mark_waiting()
            return
        sequence.mark_running()
        self.table.start_stepping(sequence)
        if sequence.history_left:
            self._piggybacked.add(sequence)

    def _decode_step(self) -> None:
        """Read one element of each stepping row, in as few runs as possible."""
        table, cache = self.table, self.table.cache
        count, most = table.stepping_count, self._session.max_batch_size
        self._piggybacked.put_elements()
        parts: list[tuple[int, int, list[Array]]] = []
        for start in range(0, count, most):
            stop = min(count, start + most)
            outputs = self._run(start, stop, table.elements[start:stop])
            if outputs is None:
                return
            parts.append((start, stop, outputs))
        for start, stop, outputs in parts:
            cache.store(outputs, start, stop)
        cache.position[:count] += 1
        first = parts[0][2][0] if len(parts) == 1 else np.concatenate([p[2][0] for p in parts])
        if self._section.overlap:
            cache.tail(0, count)[:] = table.elements[:count, -self._section.overlap :]
        if not self._section.frame:
            first = first[:, 0]
        if read := self._piggybacked.note_read():
            self.prefilled_elements += read
            sequences, first = self._piggybacked.leave_out(table.sequences[:count], first)
            if sequences:
                self._write(StepBatch(sequences), first)
            return
        if self._step_batch_version != table.version:
            self._step_batch = StepBatch(table.sequences[:count])
            self._step_batch_version = table.version
        self._write(self._step_batch, first)

    def _write(self, batch: StepBatch, outputs: NDArray[Any]) -> None:
        for sequence in batch.of_streams:
            if not self.table.steps_made[sequence.row]:  # later steps were not observed
                snapshot = self.table.cache.save(sequence.row)
                self.follow_states.keep(sequence.entry.sender, sequence.plan.stream, snapshot)
        self.decoded_steps += len(batch.sequences)
        self._output.write(batch, outputs)

    # -- endings and failures

    def _finish(
        self,
        sequence: LiveSequence,
        status: TicketStatus,
        finish_reason: FinishReason = FinishReason.OPEN,
        reason: str = "",
    ) -> None:
        """Note the outcome, and free the row; for a beam search all of its rows."""
        entry, ticket = sequence.entry, sequence.entry.ticket
        batch_size = max(1, self.table.stepping_count)
        if status is TicketStatus.DONE:
            sequence.write_finish_reason(finish_reason)
        for each in self._output.close(sequence):
            if status is not TicketStatus.DONE:  # it may hold values that are not finite
                self.table.cache.erase(each.row)
            self.table.remove(each)
        if not self.table.sequences:  # keep no reference to a frontend that may be gone
            self._step_batch, self._step_batch_version = StepBatch([]), -1
            self._piggybacked.clear()
        now_ns = self._clock_ns()
        queue_ns, run_ns = sequence.started_ns - ticket.submitted_ns, now_ns - sequence.started_ns
        outcome = Outcome(ticket.id, status, batch_size, max(0, queue_ns), run_ns, reason)
        self._outcomes.append((entry, outcome))
        if not sequence.plan.stream:
            self.reserved_rows -= ticket.cache_rows
        elif sequence.plan.opens_stream and status is not TicketStatus.DONE:
            self.follow_states.forget(entry)
            self.reserved_rows -= 1

    def _run(self, start: int, stop: int, elements: Array) -> list[Array] | None:
        """Run neighbouring rows; after a failure end the sequences that caused it: None."""
        try:
            return self._runner.run(start, stop, elements)
        except FailedRun as err:
            for sequence, reason in err.reasons.items():
                if sequence.row >= 0:
                    self._finish(sequence, TicketStatus.FAILED, reason=reason)
        return None
