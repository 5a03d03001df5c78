"""The decoding engine: at each turn every live sequence of a model shares one run.

A turn reads on the histories of newcomers, a chunk of one group of them, or makes one step of all
others; while both are wanted they take turns, so a newcomer hears of its first step before the
others make their next. Sequences join and leave between turns. Who waits, and when the device is
free, is the lane's concern.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.ipc.doorbell import Outcome, TicketStatus
from service.ipc.sequence_slot import ElementLayout, FinishReason, SequenceSlot
from service.worker.batch_queue import Entry
from service.worker.decoding.follow_states import FollowedStates
from service.worker.decoding.live_sequence import Live
from service.worker.decoding.model_runner import FailedRun, Runnable, Runs
from service.worker.decoding.output import Emission
from service.worker.decoding.piggybacked_prefill import Feeding
from service.worker.decoding.prefill import Readers
from service.worker.decoding.row_table import Rows
from service.worker.decoding.state_cache import Snapshot
from service.worker.decoding.step_batch import Company
from service.worker.session import Array


class Engine:
    """All live sequences of one model on one device.

    Args:
        session: runs the model.
        max_rows: how many sequences are live at most.
        clock_ns: CLOCK_MONOTONIC.
    """

    def __init__(self, session: Runnable, max_rows: int, clock_ns: Callable[[], int]) -> None:
        manifest = session.manifest
        section = manifest.sequence
        assert section is not None
        self._session = session
        self._section = section
        self._clock_ns = clock_ns
        scores = manifest.outputs[0].axes[-1]
        assert isinstance(scores, int)
        self.element_layout = ElementLayout.of(section, scores)
        self._vocabulary_size = scores
        self.rows = Rows(manifest, self.element_layout, max_rows)
        self._runs = Runs(session, self.rows)
        self._feeding = Feeding(self.rows, section)
        self._emission = Emission(self.rows, section, self._end)
        self._readers = Readers(manifest, self.rows, session.max_batch_size)
        self._company, self._company_of = Company([]), -1
        self._turn = 0
        self._has_read = False  # in the last turn
        self._outcomes: list[tuple[Entry, Outcome]] = []
        self.followed = FollowedStates()
        self.max_seats = max_rows
        self.seats = 0
        self.steps_made = self.elements_read = 0  # since the lane has last looked

    # -- who is there

    def join(self, entry: Entry) -> None:
        """Take in a ticket; there must be a seat."""
        ticket, sender = entry.ticket, entry.sender
        slot = SequenceSlot.read(sender.arena.bytes, ticket.slot, self.element_layout)
        plan = slot.layout.plan
        snapshot: Snapshot | None = None
        if plan.opens_stream:
            self.followed.open(entry)
        elif plan.stream:
            if not self.followed.knows(sender, plan.stream):
                self._outcomes.append((entry, Outcome(ticket.id, TicketStatus.STATE_LOST)))
                return
            snapshot = self.followed.state(sender, plan.stream)
        self.seats += ticket.cache_rows
        live = Live(entry, slot, self._vocabulary_size, self._clock_ns(), self._turn)
        self.rows.add(live, snapshot)
        end = self._emission.note_joined(live)
        if end is not FinishReason.OPEN:
            self._end(live, TicketStatus.DONE, end)
        else:
            self._settle(live)

    def sweep(self) -> None:
        """Let those go who were cancelled or whose deadline has passed."""
        now_ns = self._clock_ns()
        for live in list(self.rows.lives):
            if live.row < 0:  # a beam that has gone with another
                continue
            if live.entry.is_cancelled:
                self._end(live, TicketStatus.CANCELLED)
            elif live.entry.ticket.deadline_ns < now_ns:
                self._end(live, TicketStatus.EXPIRED)
        self.seats -= self.followed.close_cancelled({live.entry for live in self.rows.lives})

    def abandon(self, reason: str) -> None:
        """After an error of the engine itself: nobody's rows can be trusted any more."""
        for live in list(self.rows.lives):
            if live.row >= 0:
                self._end(live, TicketStatus.FAILED, reason=reason)

    def take_outcomes(self) -> list[tuple[Entry, Outcome]]:
        """What is to be told since the last time."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    # -- one turn

    def turn(self) -> None:
        """Read on a group of histories, or make a step of all that have read theirs."""
        self._turn += 1
        wants_reading = len(self.rows.lives) > self.rows.stepping
        self._has_read = wants_reading and not (self._has_read and self.rows.stepping)
        if self._has_read:
            self._read_histories()
        elif self.rows.stepping:
            self._step()
        self._outcomes += self._emission.take_progress()

    def _read_histories(self) -> None:
        """Up to a chunk of the history that has waited longest, and of those like it."""
        reading = self.rows.lives[self.rows.stepping :]
        first = min(reading, key=lambda live: live.served)
        read = 0
        while first.row >= self.rows.stepping:
            size = self._readers.next_size(first)
            if read + size > self._readers.largest:
                break
            read += size
            if not self._read(self._readers.like(first, size), size):
                break

    def _read(self, group: list[Live], size: int) -> bool:
        """Read ``size`` elements of each; False when the run failed."""
        start, stop = group[0].row, group[-1].row + 1
        elements, lengths = self._readers.elements_of(group, size)
        for live in group:
            live.mark_running()
        outputs = self._run(start, stop, elements)
        if outputs is None:
            return False
        self.rows.state.take(outputs, start, stop)
        self.rows.state.position[start:stop] += lengths
        self.elements_read += sum(lengths)
        for live, length in zip(group, lengths, strict=True):
            live.fed += length
            live.served = self._turn
        done = [live for live in group if not live.left]
        if done:
            last = [(live.row - start, lengths[live.row - start] - 1) for live in done]
            answers = np.stack([outputs[0][row, time] for row, time in last])
            self._emit(Company(done), answers)
        for live in group:
            if live.row >= 0:
                self._settle(live)
        return True

    def _settle(self, live: Live) -> None:
        """Let it step if what it reads next is no more than one element."""
        if self.rows.is_stepping(live):
            return
        if live.left and self._readers.next_size(live) > 1:
            live.mark_waiting()
            return
        live.mark_running()
        self.rows.start_steps(live)
        if live.left:
            self._feeding.add(live)

    def _step(self) -> None:
        """One element of each row that steps."""
        rows, count, most = self.rows, self.rows.stepping, self._session.max_batch_size
        self._feeding.put_elements()
        parts: list[tuple[int, int, list[Array]]] = []
        for start in range(0, count, most):
            stop = min(count, start + most)
            outputs = self._run(start, stop, rows.elements[start:stop])
            if outputs is None:
                return
            parts.append((start, stop, outputs))
        for start, stop, outputs in parts:
            rows.state.take(outputs, start, stop)
        rows.state.position[:count] += 1
        answers = parts[0][2][0] if len(parts) == 1 else np.concatenate([p[2][0] for p in parts])
        if self._section.overlap:
            rows.state.tail(0, count)[:] = rows.elements[:count, -self._section.overlap :]
        if not self._section.frame:
            answers = answers[:, 0]
        if read := self._feeding.note_read():
            self.elements_read += read
            lives, answers = self._feeding.leave_out(rows.lives[:count], answers)
            if lives:
                self._emit(Company(lives), answers)
            return
        if self._company_of != rows.version:
            self._company, self._company_of = Company(rows.lives[:count]), rows.version
        self._emit(self._company, answers)

    def _emit(self, company: Company, answers: NDArray[Any]) -> None:
        for live in company.followed:
            if not self.rows.made[live.row]:  # the steps ahead are no part of what was observed
                snapshot = self.rows.state.save(live.row)
                self.followed.keep(live.entry.sender, live.plan.stream, snapshot)
        self.steps_made += len(company.lives)
        self._emission.emit(company, answers)

    # -- endings and failures

    def _end(
        self,
        live: Live,
        status: TicketStatus,
        end: FinishReason = FinishReason.OPEN,
        reason: str = "",
    ) -> None:
        """Tell how it ended, and free its row; of a beam search, all of its rows."""
        entry, ticket = live.entry, live.entry.ticket
        batch_size = max(1, self.rows.stepping)
        if status is TicketStatus.DONE:
            live.write_end(end)
        for each in self._emission.beams_of(live):
            if status is not TicketStatus.DONE:  # it may hold what is not finite
                self.rows.state.erase(each.row)
            self.rows.remove(each)
        if not self.rows.lives:  # keep nothing of a frontend that may be gone
            self._company, self._company_of = Company([]), -1
            self._feeding.clear()
        now_ns = self._clock_ns()
        queue_ns, run_ns = live.started_ns - ticket.submitted_ns, now_ns - live.started_ns
        outcome = Outcome(ticket.id, status, batch_size, max(0, queue_ns), run_ns, reason)
        self._outcomes.append((entry, outcome))
        if not live.plan.stream:
            self.seats -= ticket.cache_rows
        elif live.plan.opens_stream and status is not TicketStatus.DONE:
            self.followed.forget(entry)
            self.seats -= 1

    def _run(self, start: int, stop: int, elements: Array) -> list[Array] | None:
        """Run neighbouring rows; None when it failed, and those are gone whose fault it was."""
        try:
            return self._runs.run(start, stop, elements)
        except FailedRun as err:
            for live, reason in err.reasons.items():
                if live.row >= 0:
                    self._end(live, TicketStatus.FAILED, reason=reason)
        return None
