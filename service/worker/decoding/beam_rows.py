"""The rows of beam searches: each open beam has a row of its own, as another sequence has."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.sections import SequenceSection
from service.ipc.doorbell import TicketStatus
from service.worker.decoding.beam_search import BeamSearch, NotFinite
from service.worker.decoding.live_sequence import FinishSequence, LiveSequence
from service.worker.decoding.row_table import RowTable
from service.worker.entries import Entry

NOT_FINITE = "the model's answer is not finite"


class BeamRows:
    """All beam searches of one model.

    Args:
        table: the live sequences.
        section: of the model's manifest.
        finish: called with a beam of a search that has ended.
    """

    def __init__(self, table: RowTable, section: SequenceSection, finish: FinishSequence) -> None:
        self._table = table
        self._section = section
        self._finish = finish
        self.searches: dict[Entry, tuple[BeamSearch, list[LiveSequence]]] = {}

    def open(self, sequence: LiveSequence) -> None:
        """Begin the search of an admitted sequence."""
        plan = sequence.plan
        search = BeamSearch(
            plan.beams,
            plan.steps,
            plan.alternatives,
            self._section.vocabulary,
            plan.stop,
            self._section.end_token,
        )
        self.searches[sequence.entry] = search, [sequence]

    def close(self, sequence: LiveSequence) -> list[LiveSequence]:
        """End the search of a sequence, if any; returns all its beams, or the sequence itself."""
        return self.searches.pop(sequence.entry, (None, [sequence]))[1]

    def step(
        self, sequences: Sequence[LiveSequence], outputs: NDArray[Any]
    ) -> tuple[Sequence[LiveSequence], NDArray[Any]]:
        """Make a step of every search; returns the other sequences and their outputs."""
        places = {each: index for index, each in enumerate(sequences)}
        for search, beams in list(self.searches.values()):
            if beams[0] in places:
                self._advance(search, beams, outputs[[places[beam] for beam in beams]])
        others = [index for index, each in enumerate(sequences) if each.plan.beams == 1]
        return [sequences[index] for index in others], outputs[others]

    def _advance(self, search: BeamSearch, beams: list[LiveSequence], logits: NDArray[Any]) -> None:
        table, first, context = self._table, beams[0], self._section.context
        is_full = bool(context) and int(table.cache.position[first.row]) >= context
        try:
            parents = search.advance(logits)
        except NotFinite:
            self._finish(first, TicketStatus.FAILED, reason=NOT_FINITE)
            return
        if search.is_over or is_full:
            self._finish_search(first, search)
            return
        if not table.is_stepping(first):
            table.start_stepping(first)
        while len(beams) < len(parents):
            fork = first.fork()
            table.add(fork)
            table.start_stepping(fork)
            beams.append(fork)
        sources = [beams[parent].row for parent in parents]
        targets = np.array([beam.row for beam in beams[: len(parents)]])
        table.cache.reorder(targets, np.array(sources))
        table.elements[targets, 0] = [each.token for each in search.open]
        while len(beams) > len(parents):
            table.remove(beams.pop())

    def _finish_search(self, sequence: LiveSequence, search: BeamSearch) -> None:
        """Write the likeliest continuation."""
        best, finish_reason = search.best()
        steps = best.steps()
        words = sequence.slot.steps(0, len(steps))
        count = sequence.plan.alternatives
        for row, step in zip(words, steps, strict=True):
            row[0] = step.token
            row[1] = np.float32(step.log_probability).view(np.int32)
            row[2 : 2 + count] = step.alternatives[0]
            row[2 + count :] = step.alternatives[1].view(np.int32)
        sequence.write_count(len(steps))
        self._finish(sequence, TicketStatus.DONE, finish_reason)
