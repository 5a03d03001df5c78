"""The sequences that make a step together, and everything that depends only on their choice.

The choice changes when a sequence is admitted or ends, which is rare compared to steps. So these
lookups are not repeated at every step.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.worker.decoding.live_sequence import LiveSequence
from service.worker.decoding.sampling import Sampler


class StepBatch:
    """Sequences whose next step is written together.

    Attributes:
        sequences: in the order of their outputs.
        rows: their rows, as an index.
        arenas: for each frontend, its arena as words and the places of its sequences (None: all).
        samplers: of the sequences that do not simply take the likeliest token, with their places.
        with_alternatives: places of the sequences that want alternatives.
        with_stop: the sequences that have stop strings, with their places.
        reporting: the sequences that report each step.
        of_streams: the sequences whose state is kept for a ``Follow`` stream.
    """

    def __init__(self, sequences: Sequence[LiveSequence]) -> None:
        self.sequences = sequences
        rows = [each.row for each in sequences]
        is_all = rows == list(range(len(rows)))
        self.rows: NDArray[np.intp] | slice = slice(0, len(rows)) if is_all else np.array(rows)
        self.arenas = _arenas(sequences)
        samplers = [(place, each.sampler) for place, each in enumerate(sequences)]
        self.samplers: list[tuple[int, Sampler]] = [
            (place, sampler) for place, sampler in samplers if sampler
        ]
        self.with_alternatives = [
            place for place, each in enumerate(sequences) if each.plan.alternatives
        ]
        self.with_stop = [(place, each) for place, each in enumerate(sequences) if each.plan.stop]
        self.reporting = [each for each in sequences if each.plan.reports_steps]
        self.of_streams = [each for each in sequences if each.plan.stream]


def _arenas(
    sequences: Sequence[LiveSequence],
) -> list[tuple[NDArray[np.int32], NDArray[np.intp] | None]]:
    arenas = [each.entry.sender.arena for each in sequences]
    distinct = list(dict.fromkeys(arenas))
    if len(distinct) < 2:
        return [(np.frombuffer(arena.bytes, np.int32), None) for arena in distinct]
    return [
        (
            np.frombuffer(arena.bytes, np.int32),
            np.array([place for place, each in enumerate(arenas) if each is arena]),
        )
        for arena in distinct
    ]
