"""A sequence's slot in shared memory: what is asked, the history, and room for every step.

The memory is reserved up front, so the engine never waits for a reader. It writes a step first and
the count of complete steps after it, so whoever finds a count, even that of a worker that died,
finds that many steps.
"""

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.sections import SequenceSection
from service.ipc.slot_layout import aligned

WORD_BYTES = 4
STATE_WORD, COUNT_WORD, END_WORD = 0, 1, 2  # of the header
_HEADER_BYTES = 128
# history, steps, alternatives, top_k, beams, stop bytes, flags, (pad), temperature, top_p, penalty,
# seed, first step, stream
_PLAN = struct.Struct("<7I4x3dQQQ")
_PLAN_OFFSET = 16
_STREAMED, _OPENS = 1, 2


class End(IntEnum):
    """Why a continuation ended."""

    OPEN = 0
    STEPS = 1
    STOP = 2
    CONTEXT = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What one ticket asks of the engine."""

    history: int
    """Elements: tokens, time steps of values, or frames."""
    steps: int
    """To make at most."""
    alternatives: int = 0
    temperature: float = 0.0
    """0: greedy."""
    top_k: int = 0
    """0: all."""
    top_p: float = 1.0
    penalty: float = 1.0
    seed: int = 0
    beams: int = 1
    stop: tuple[str, ...] = ()
    is_streamed: bool = False
    """Tell of each step; otherwise only of the end."""
    first_step: int = 0
    """The number of the first step, for the draws of a seed."""
    stream: int = 0
    """Of ``Follow``: the stream whose state is to be continued and kept; 0: none."""
    opens_stream: bool = False
    """The stream begins here."""

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is all that is asked for."""
        return not (self.temperature or self.alternatives) and self.penalty == 1


class Form(NamedTuple):
    """What the elements and the steps of a model look like."""

    is_tokens: bool
    element_words: int  # of the history: 1 a token, or the values of a time step or frame
    answer_words: int  # of a step's values; 0 of tokens

    @classmethod
    def of(cls, section: SequenceSection, scores: int) -> "Form":
        """The form of a model; ``scores`` is the size of its answer's last axis."""
        if section.kind == "tokens":
            return cls(True, 1, 0)
        return cls(False, section.frame or section.series, scores)


@dataclass(frozen=True, slots=True)
class SequenceLayout:
    """Where in a slot things lie; both sides compute it alike. Offsets in bytes."""

    form: Form
    plan: Plan
    stop: bytes
    history: int
    steps: int
    step_words: int
    size: int

    @classmethod
    def of(cls, form: Form, plan: Plan) -> "SequenceLayout":
        """The layout for one plan."""
        stop = json.dumps(plan.stop).encode() if plan.stop else b""
        words = 2 + 2 * plan.alternatives if form.is_tokens else form.answer_words
        history = aligned(_HEADER_BYTES + len(stop))
        steps = aligned(history + plan.history * form.element_words * WORD_BYTES)
        size = aligned(steps + plan.steps * words * WORD_BYTES)
        return cls(form, plan, stop, history, steps, words, size)


class SequenceSlot:
    """A view of one slot.

    Args:
        memory: of the whole arena.
        start: of the slot, in bytes.
        layout: of the slot.
    """

    def __init__(self, memory: memoryview, start: int, layout: SequenceLayout) -> None:
        self._memory = memory
        self.start = start
        self.layout = layout

    @classmethod
    def read(cls, memory: memoryview, start: int, form: Form) -> "SequenceSlot":
        """The slot that a frontend has written."""
        return cls(memory, start, SequenceLayout.of(form, _read_plan(memory, start)))

    def write_plan(self) -> None:
        """Make the slot a new one: nothing is emitted yet."""
        plan, stop, memory, start = self.layout.plan, self.layout.stop, self._memory, self.start
        memory[start : start + _HEADER_BYTES] = bytes(_HEADER_BYTES)
        flags = _STREAMED * plan.is_streamed + _OPENS * plan.opens_stream
        _PLAN.pack_into(
            memory,
            start + _PLAN_OFFSET,
            *(plan.history, plan.steps, plan.alternatives, plan.top_k, plan.beams, len(stop)),
            *(flags, plan.temperature, plan.top_p, plan.penalty),
            *(plan.seed, plan.first_step, plan.stream),
        )
        memory[start + _HEADER_BYTES : start + _HEADER_BYTES + len(stop)] = stop

    @property
    def history(self) -> NDArray[Any]:
        """``[T]`` int32 tokens, or ``[T, width]`` float32 values; a view."""
        form, count = self.layout.form, self.layout.plan.history
        offset = self.start + self.layout.history
        if form.is_tokens:
            return np.frombuffer(self._memory, np.int32, count, offset)
        width = form.element_words
        flat = np.frombuffer(self._memory, np.float32, count * width, offset)
        return flat.reshape(count, width)

    def steps(self, start: int, stop: int) -> NDArray[np.int32]:
        """Steps ``start:stop`` as words ``[n, step_words]``; a view.

        Of tokens: the token, the bits of its log-probability, tokens of the alternatives, the bits
        of theirs. Of values: their bits. ``view(np.float32)`` reads bits.
        """
        words = self.layout.step_words
        offset = self.start + self.layout.steps + start * words * WORD_BYTES
        flat = np.frombuffer(self._memory, np.int32, (stop - start) * words, offset)
        return flat.reshape(stop - start, words)

    @property
    def count(self) -> int:
        """How many steps are complete."""
        return self._word(COUNT_WORD)

    @property
    def end(self) -> End:
        """Why it ended."""
        return End(self._word(END_WORD))

    def _word(self, index: int) -> int:
        return struct.unpack_from("<i", self._memory, self.start + index * WORD_BYTES)[0]


def _read_plan(memory: memoryview, start: int) -> Plan:
    history, steps, alternatives, top_k, beams, stop_bytes, flags, *rest = _PLAN.unpack_from(
        memory, start + _PLAN_OFFSET
    )
    temperature, top_p, penalty, seed, first_step, stream = rest
    stop: tuple[str, ...] = ()
    if stop_bytes:
        at = start + _HEADER_BYTES
        stop = tuple(json.loads(bytes(memory[at : at + stop_bytes])))
    return Plan(
        history=history,
        steps=steps,
        alternatives=alternatives,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        penalty=penalty,
        seed=seed,
        beams=beams,
        stop=stop,
        is_streamed=bool(flags & _STREAMED),
        first_step=first_step,
        stream=stream,
        opens_stream=bool(flags & _OPENS),
    )
