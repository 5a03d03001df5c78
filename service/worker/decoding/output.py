"""From the outputs of a run to steps in the slots, for many sequences at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.sections import SequenceSection
from service.ipc.doorbell import Outcome, TicketStatus
from service.ipc.sequence_slot import FinishReason
from service.worker.decoding.beam_rows import NOT_FINITE, BeamRows
from service.worker.decoding.beam_search import stops
from service.worker.decoding.live_sequence import FinishSequence, LiveSequence
from service.worker.decoding.row_table import RowTable
from service.worker.decoding.sampling import Chosen, choose, choose_likeliest, likeliest
from service.worker.decoding.step_batch import StepBatch
from service.worker.entries import Entry


class StepOutput:
    """Chooses and writes steps.

    Args:
        table: the live sequences.
        section: of the model's manifest.
        finish: called with a sequence that has ended.
    """

    def __init__(self, table: RowTable, section: SequenceSection, finish: FinishSequence) -> None:
        self._table = table
        self._section = section
        self._finish = finish
        self._beams = BeamRows(table, section, finish)
        self._reporting: list[LiveSequence] = []

    def admit(self, sequence: LiveSequence) -> FinishReason:
        """Prepare for an admitted sequence, before the first ``write``.

        Returns:
            Why nothing is left to do for a sequence of a lost worker; else ``OPEN``.
        """
        plan, context = sequence.plan, self._section.context
        if plan.beams > 1:
            self._beams.open(sequence)
        if not sequence.steps_before:
            return FinishReason.OPEN
        if self._table.element_layout.is_tokens:
            tokens: list[int] = sequence.history[plan.history_length :].tolist()
            sequence.text = "".join(self._section.vocabulary[token] for token in tokens[:-1])
            if self._stops(sequence, tokens[-1]):
                return FinishReason.STOP
        if sequence.steps_before == plan.steps:
            return FinishReason.STEPS
        is_full = context and len(sequence.history) > context
        return FinishReason.CONTEXT if is_full else FinishReason.OPEN

    def close(self, sequence: LiveSequence) -> list[LiveSequence]:
        """End a sequence; returns all beams of its search, or the sequence itself."""
        return self._beams.close(sequence)

    def take_progress(self) -> list[tuple[Entry, Outcome]]:
        """Progress of the sequences that report each step and have not ended."""
        reporting, self._reporting = self._reporting, []
        made = self._table.steps_made
        return [
            (
                each.entry,
                Outcome(each.entry.ticket.id, TicketStatus.PROGRESS, steps=int(made[each.row])),
            )
            for each in {id(each): each for each in reporting if each.row >= 0}.values()
        ]

    def write(self, batch: StepBatch, outputs: NDArray[Any]) -> None:
        """Write the next step of each sequence, and end those that have made their last.

        Args:
            batch: sequences whose histories are read.
            outputs: of each: logits ``[n, V]``, predictions ``[n, series]``, or scores.
        """
        if self._beams.searches:
            others, outputs = self._beams.step(batch.sequences, outputs)
            if not others:
                return
            batch = StepBatch(others)
        if not self._table.element_layout.is_tokens:
            words = np.ascontiguousarray(outputs, np.float32).view(np.int32)
            self._write_words(batch, words)
            if not self._section.frame:
                self._table.elements[batch.rows, 0] = outputs
            self._end_some(batch, outputs.sum(axis=1), None)
            return
        chosen = choose_likeliest(outputs)
        if batch.samplers:
            self._sample(batch, outputs, chosen)
        self._table.elements[batch.rows, 0] = chosen.tokens
        words = np.empty((len(batch.sequences), 2), np.int32)
        words[:, 0] = chosen.tokens
        words[:, 1] = chosen.log_probabilities.view(np.int32)
        if batch.with_alternatives:
            self._write_alternatives(batch, outputs)
        self._write_words(batch, words)
        self._end_some(batch, chosen.log_probabilities, chosen.tokens)

    def _sample(self, batch: StepBatch, logits: NDArray[Any], chosen: Chosen) -> None:
        """Choose again for the sequences that do not simply take the likeliest token."""
        places = [place for place, _ in batch.samplers]
        steps: list[int] = self._table.steps_made[batch.rows][places].tolist()
        some = choose(logits[places], [sampler for _, sampler in batch.samplers], steps)
        chosen.tokens[places] = some.tokens
        chosen.log_probabilities[places] = some.log_probabilities

    def _write_words(self, batch: StepBatch, words: NDArray[np.int32]) -> None:
        """Write the steps, then their counts."""
        table, rows = self._table, batch.rows
        table.steps_made[rows] += 1
        table.steps_left[rows] -= 1
        made: NDArray[np.int64] = table.steps_made[rows]
        count_word: NDArray[np.int64] = table.count_word[rows]
        next_word: NDArray[np.int64] = table.next_word[rows]
        offsets = np.arange(words.shape[1], dtype=np.int64)
        places_of_words = np.add(next_word[:, None], offsets)
        for arena, places in batch.arenas:
            if places is None:
                arena[places_of_words] = words
                arena[count_word] = made
            else:
                arena[places_of_words[places]] = words[places]
                arena[count_word[places]] = made[places]
        table.next_word[rows] += table.step_words[rows]

    def _write_alternatives(self, batch: StepBatch, logits: NDArray[Any]) -> None:
        sequences = [batch.sequences[place] for place in batch.with_alternatives]
        most = max(each.plan.alternatives for each in sequences)
        tokens, log_probabilities = likeliest(logits[batch.with_alternatives], most)
        for index, sequence in enumerate(sequences):
            count = sequence.plan.alternatives
            made = int(self._table.steps_made[sequence.row])
            step = sequence.slot.steps(made, made + 1)[0]
            step[2 : 2 + count] = tokens[index, :count]
            step[2 + count :] = log_probabilities[index, :count].view(np.int32)

    def _end_some(
        self, batch: StepBatch, finite: NDArray[Any], tokens: NDArray[np.intp] | None
    ) -> None:
        """End the sequences that made their last step; note which of the others report it.

        Args:
            batch: sequences that have just made a step.
            finite: a number for each; if it is not finite, the sequence fails.
            tokens: that were chosen, if the model has tokens.
        """
        ends: dict[LiveSequence, FinishReason] = {}
        sequences, context = batch.sequences, self._section.context
        if context:
            is_full = self._table.cache.position[batch.rows] >= context
            if is_full.any():
                full = [sequences[place] for place in np.flatnonzero(is_full).tolist()]
                ends |= dict.fromkeys(full, FinishReason.CONTEXT)
        left = self._table.steps_left[batch.rows]
        if not left.all():
            complete = [sequences[place] for place in np.flatnonzero(left == 0).tolist()]
            ends |= dict.fromkeys(complete, FinishReason.STEPS)
        if tokens is not None:
            ends |= self._stopped(batch, tokens)
        self._reporting += batch.reporting
        is_finite = np.isfinite(finite)
        if not is_finite.all():
            for place in np.flatnonzero(~is_finite).tolist():
                ends.pop(sequences[place], None)
                self._finish(sequences[place], TicketStatus.FAILED, reason=NOT_FINITE)
        for sequence, finish_reason in ends.items():
            self._finish(sequence, TicketStatus.DONE, finish_reason)

    def _stopped(
        self, batch: StepBatch, tokens: NDArray[np.intp]
    ) -> dict[LiveSequence, FinishReason]:
        stopped = [
            sequence
            for place, sequence in batch.with_stop
            if self._stops(sequence, int(tokens[place]))
        ]
        if self._section.end_token >= 0:
            places = np.flatnonzero(tokens == self._section.end_token).tolist()
            stopped += [batch.sequences[place] for place in places]
        return dict.fromkeys(stopped, FinishReason.STOP)

    def _stops(self, sequence: LiveSequence, token: int) -> bool:
        """Append a token to the sequence's text; returns whether it ends the continuation."""
        if token == self._section.end_token:
            return True
        stop = sequence.plan.stop
        if not stop:
            return False
        added = self._section.vocabulary[token]
        sequence.text = sequence.text[-max(map(len, stop)) :] + added
        return stops(sequence.text, added, stop)
