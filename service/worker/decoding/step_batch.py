"""Who makes a step together, and all that depends on that alone.

It changes when somebody joins or ends, which is seldom beside the number of steps; so what can be
looked up then need not be at every step.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.worker.decoding.live_sequence import Live
from service.worker.decoding.sampling import Sampler


class Company:
    """Sequences that are given answers together.

    Attributes:
        lives: in the order of their answers.
        rows: theirs, as an index.
        memories: of each frontend: its arena as words, and which of ``lives`` are its (None: all).
        samplers: of those that are not plainly greedy, with their places.
        curious: places of those that want alternatives.
        stopping: those that a string of their own may stop.
        streamed: those that want to hear of each step.
        followed: those whose state is kept for a ``Follow``.
    """

    def __init__(self, lives: Sequence[Live]) -> None:
        self.lives = lives
        rows = [live.row for live in lives]
        is_all = rows == list(range(len(rows)))
        self.rows: NDArray[np.intp] | slice = slice(0, len(rows)) if is_all else np.array(rows)
        self.memories = _memories(lives)
        own = [(place, live.sampler) for place, live in enumerate(lives)]
        self.samplers: list[tuple[int, Sampler]] = [
            (place, sampler) for place, sampler in own if sampler
        ]
        self.curious = [place for place, live in enumerate(lives) if live.plan.alternatives]
        self.stopping = [(place, live) for place, live in enumerate(lives) if live.plan.stop]
        self.streamed = [live for live in lives if live.plan.reports_steps]
        self.followed = [live for live in lives if live.plan.stream]


def _memories(lives: Sequence[Live]) -> list[tuple[NDArray[np.int32], NDArray[np.intp] | None]]:
    arenas = [live.entry.sender.arena for live in lives]
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
