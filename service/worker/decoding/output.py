"""From what a run says to steps in the slots of those who asked, many sequences at once."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.artifact.sections import SequenceSection
from service.ipc.doorbell import Outcome, TicketStatus
from service.ipc.sequence_slot import FinishReason
from service.worker.batch_queue import Entry
from service.worker.decoding.beam_search import BeamSearch, stops
from service.worker.decoding.live_sequence import Live
from service.worker.decoding.row_table import Rows
from service.worker.decoding.sampling import Chosen, choose, choose_likeliest, likeliest
from service.worker.decoding.step_batch import Company


class Finish(Protocol):
    """Ends a sequence."""

    def __call__(
        self,
        live: Live,
        status: TicketStatus,
        end: FinishReason = FinishReason.OPEN,
        reason: str = "",
    ) -> None:
        """Tell, and free the row."""
        ...


class Emission:
    """Chooses and writes steps.

    Args:
        rows: the live sequences.
        section: of the model's manifest.
        finish: called with a sequence that has ended.
    """

    def __init__(self, rows: Rows, section: SequenceSection, finish: Finish) -> None:
        self._rows = rows
        self._section = section
        self._finish = finish
        self._searches: dict[Entry, tuple[BeamSearch, list[Live]]] = {}
        self._told: list[Live] = []

    def note_joined(self, live: Live) -> FinishReason:
        """Before the first ``emit``; returns why nothing is left to do for one that moved here."""
        plan, context = live.plan, self._section.context
        if plan.beams > 1:
            search = BeamSearch(
                plan.beams,
                plan.steps,
                plan.alternatives,
                self._section.vocabulary,
                plan.stop,
                self._section.end_token,
            )
            self._searches[live.entry] = search, [live]
        if not live.made_before:
            return FinishReason.OPEN
        if self._rows.element_layout.is_tokens:
            emitted: list[int] = live.history[plan.history_length :].tolist()
            live.text = "".join(self._section.vocabulary[token] for token in emitted[:-1])
            if self._stops(live, emitted[-1]):
                return FinishReason.STOP
        if live.made_before == plan.steps:
            return FinishReason.STEPS
        return (
            FinishReason.CONTEXT if context and len(live.history) > context else FinishReason.OPEN
        )

    def beams_of(self, live: Live) -> list[Live]:
        """All beams of a search that ends; of any other sequence itself."""
        return self._searches.pop(live.entry, (None, [live]))[1]

    def take_progress(self) -> list[tuple[Entry, Outcome]]:
        """News of those who want to hear of each step, and have not ended."""
        told, self._told = self._told, []
        made = self._rows.made
        return [
            (
                live.entry,
                Outcome(live.entry.ticket.id, TicketStatus.PROGRESS, steps=int(made[live.row])),
            )
            for live in {id(live): live for live in told if live.row >= 0}.values()
        ]

    def emit(self, company: Company, answers: NDArray[Any]) -> None:
        """Make a step of each.

        Args:
            company: whose histories are read.
            answers: of each: logits ``[n, V]``, predictions ``[n, series]``, or scores.
        """
        if self._searches:
            others, answers = self._search(company.lives, answers)
            if not others:
                return
            company = Company(others)
        if not self._rows.element_layout.is_tokens:
            words = np.ascontiguousarray(answers, np.float32).view(np.int32)
            self._write(company, words)
            if not self._section.frame:
                self._rows.elements[company.rows, 0] = answers
            self._end_some(company, answers.sum(axis=1), None)
            return
        chosen = choose_likeliest(answers)
        if company.samplers:
            self._sample(company, answers, chosen)
        self._rows.elements[company.rows, 0] = chosen.tokens
        words = np.empty((len(company.lives), 2), np.int32)
        words[:, 0] = chosen.tokens
        words[:, 1] = chosen.log_probabilities.view(np.int32)
        if company.curious:
            self._write_alternatives(company, answers)
        self._write(company, words)
        self._end_some(company, chosen.log_probabilities, chosen.tokens)

    def _sample(self, company: Company, logits: NDArray[Any], chosen: Chosen) -> None:
        """Of those who are not plainly greedy, choose otherwise."""
        places = [place for place, _ in company.samplers]
        steps: list[int] = self._rows.made[company.rows][places].tolist()
        some = choose(logits[places], [sampler for _, sampler in company.samplers], steps)
        chosen.tokens[places] = some.tokens
        chosen.log_probabilities[places] = some.log_probabilities

    def _write(self, company: Company, words: NDArray[np.int32]) -> None:
        """Write the steps, then count them."""
        its, rows = self._rows, company.rows
        its.made[rows] += 1
        its.left[rows] -= 1
        made: NDArray[np.int64] = its.made[rows]
        count_word: NDArray[np.int64] = its.count_word[rows]
        next_word: NDArray[np.int64] = its.next_word[rows]
        offsets = np.arange(words.shape[1], dtype=np.int64)
        places_of_words = np.add(next_word[:, None], offsets)
        for memory, places in company.memories:
            if places is None:
                memory[places_of_words] = words
                memory[count_word] = made
            else:
                memory[places_of_words[places]] = words[places]
                memory[count_word[places]] = made[places]
        its.next_word[rows] += its.step_words[rows]

    def _write_alternatives(self, company: Company, logits: NDArray[Any]) -> None:
        lives = [company.lives[place] for place in company.curious]
        most = max(live.plan.alternatives for live in lives)
        tokens, log_probabilities = likeliest(logits[company.curious], most)
        for index, live in enumerate(lives):
            count, made = live.plan.alternatives, int(self._rows.made[live.row])
            step = live.slot.steps(made, made + 1)[0]
            step[2 : 2 + count] = tokens[index, :count]
            step[2 + count :] = log_probabilities[index, :count].view(np.int32)

    def _end_some(
        self, company: Company, finite: NDArray[Any], tokens: NDArray[np.intp] | None
    ) -> None:
        """Finish those that made their last step, and note who is to be told of the others'."""
        ends: dict[Live, FinishReason] = {}
        lives, context = company.lives, self._section.context
        if context:
            is_full = self._rows.state.position[company.rows] >= context
            if is_full.any():
                ends |= {
                    lives[place]: FinishReason.CONTEXT for place in np.flatnonzero(is_full).tolist()
                }
        left = self._rows.left[company.rows]
        if not left.all():
            ends |= {
                lives[place]: FinishReason.STEPS for place in np.flatnonzero(left == 0).tolist()
            }
        if tokens is not None:
            ends |= self._stopped(company, tokens)
        self._told += company.streamed
        is_finite = np.isfinite(finite)
        if not is_finite.all():
            reason = "the model's answer is not finite"
            for place in np.flatnonzero(~is_finite).tolist():
                ends.pop(lives[place], None)
                self._finish(lives[place], TicketStatus.FAILED, reason=reason)
        for live, end in ends.items():
            self._finish(live, TicketStatus.DONE, end)

    def _stopped(self, company: Company, tokens: NDArray[np.intp]) -> dict[Live, FinishReason]:
        stopped = [
            live for place, live in company.stopping if self._stops(live, int(tokens[place]))
        ]
        if self._section.end_token >= 0:
            places = np.flatnonzero(tokens == self._section.end_token).tolist()
            stopped += [company.lives[place] for place in places]
        return dict.fromkeys(stopped, FinishReason.STOP)

    def _stops(self, live: Live, token: int) -> bool:
        if token == self._section.end_token:
            return True
        if not live.plan.stop:
            return False
        added = self._section.vocabulary[token]
        live.text = live.text[-max(map(len, live.plan.stop)) :] + added
        return stops(live.text, added, live.plan.stop)

    # -- beams

    def _search(
        self, lives: Sequence[Live], answers: NDArray[Any]
    ) -> tuple[Sequence[Live], NDArray[Any]]:
        """Make a step of every search; returns the other sequences and their answers."""
        places = {live: index for index, live in enumerate(lives)}
        for entry, (search, beams) in list(self._searches.items()):
            if beams[0] in places:
                self._advance(entry, search, beams, answers[[places[beam] for beam in beams]])
        others = [index for index, live in enumerate(lives) if live.plan.beams == 1]
        return [lives[index] for index in others], answers[others]

    def _advance(
        self, entry: Entry, search: BeamSearch, beams: list[Live], logits: NDArray[Any]
    ) -> None:
        rows, first, context = self._rows, beams[0], self._section.context
        is_full = bool(context) and int(rows.state.position[first.row]) >= context
        parents = search.advance(logits)
        if search.is_over or is_full:
            self._finish_search(first, search, FinishReason.CONTEXT)
            return
        if not rows.is_stepping(first):
            rows.start_steps(first)
        sources = [beams[parent].row for parent in parents]
        while len(beams) < len(parents):
            twin = first.twin()
            rows.add(twin)
            rows.start_steps(twin)
            beams.append(twin)
        sources = [beams[parent].row for parent in parents]
        targets = np.array([beam.row for beam in beams[: len(parents)]])
        rows.state.reorder(targets, np.array(sources))
        rows.elements[targets, 0] = [each.token for each in search.open]
        while len(beams) > len(parents):
            rows.remove(beams.pop())

    def _finish_search(self, live: Live, search: BeamSearch, end: FinishReason) -> None:
        best, reason = search.best(end)
        steps = best.steps()
        words = live.slot.steps(0, len(steps))
        count = live.plan.alternatives
        for row, step in zip(words, steps, strict=True):
            row[0] = step.token
            row[1] = np.float32(step.log_probability).view(np.int32)
            row[2 : 2 + count] = step.alternatives[0]
            row[2 + count :] = step.alternatives[1].view(np.int32)
        live.write_count(len(steps))
        self._finish(live, TicketStatus.DONE, reason)
