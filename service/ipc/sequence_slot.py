"""A sequence's slot in shared memory: what is asked, the history, and room for every step.

The frontend reserves all of the memory before it submits, so the engine never waits for a reader.
The worker writes a step first and the count of complete steps after it. A reader that sees a count
therefore finds that many complete steps, even when the worker has died.
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
STATE_WORD, COUNT_WORD, FINISH_WORD = 0, 1, 2  # of the header
_HEADER_BYTES = 128
# history length, steps, alternatives, top_k, beams, stop bytes, flags, (pad), temperature, top_p,
# penalty, seed, first step, stream
_PLAN = struct.Struct("<7I4x3dQQQ")
_PLAN_OFFSET = 16
_REPORTS_STEPS, _OPENS_STREAM = 1, 2


class FinishReason(IntEnum):
    """Why a continuation ended."""

    OPEN = 0  # it has not ended
    STEPS = 1
    STOP = 2
    CONTEXT = 3


@dataclass(frozen=True, slots=True)
class SequencePlan:
    """What one ticket asks of the decoding engine."""

    history_length: int
    """Elements: tokens, time steps of values, or frames."""
    steps: int
    """The most steps to make."""
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
    reports_steps: bool = False
    """Report each step to the frontend; otherwise only the end."""
    first_step: int = 0
    """The number of the first step; the draws of a seed depend on it."""
    stream: int = 0
    """The ``Follow`` stream whose state is continued and kept; 0: none."""
    opens_stream: bool = False
    """The stream begins with this ticket."""

    @property
    def is_greedy(self) -> bool:
        """Whether each step needs only the likeliest token."""
        return not (self.temperature or self.alternatives) and self.penalty == 1


class ElementLayout(NamedTuple):
    """How a model's elements and steps are laid out in words."""

    is_tokens: bool
    element_words: int  # of the history: 1 a token, or the values of a time step or frame
    prediction_words: int  # of a step's values; 0 of tokens

    @classmethod
    def of(cls, section: SequenceSection, output_size: int) -> "ElementLayout":
        """The layout of a model; ``output_size`` is the size of its first output's last axis."""
        if section.kind == "tokens":
            return cls(True, 1, 0)
        return cls(False, section.frame or section.series, output_size)


@dataclass(frozen=True, slots=True)
class SequenceLayout:
    """Where the parts of a slot lie; frontend and worker compute the same. Offsets in bytes."""

    elements: ElementLayout
    plan: SequencePlan
    stop: bytes
    history_offset: int
    steps_offset: int
    step_words: int
    size: int

    @classmethod
    def of(cls, elements: ElementLayout, plan: SequencePlan) -> "SequenceLayout":
        """The layout for one plan."""
        stop = json.dumps(plan.stop).encode() if plan.stop else b""
        words = 2 + 2 * plan.alternatives if elements.is_tokens else elements.prediction_words
        history = aligned(_HEADER_BYTES + len(stop))
        steps = aligned(history + plan.history_length * elements.element_words * WORD_BYTES)
        size = aligned(steps + plan.steps * words * WORD_BYTES)
        return cls(elements, plan, stop, history, steps, words, size)


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
    def read(cls, memory: memoryview, start: int, elements: ElementLayout) -> "SequenceSlot":
        """The slot that a frontend has written."""
        return cls(memory, start, SequenceLayout.of(elements, _read_plan(memory, start)))

    def write_plan(self) -> None:
        """Begin a new sequence in this slot: write the plan and clear the count of steps."""
        plan, stop, memory, start = self.layout.plan, self.layout.stop, self._memory, self.start
        memory[start : start + _HEADER_BYTES] = bytes(_HEADER_BYTES)
        flags = _REPORTS_STEPS * plan.reports_steps + _OPENS_STREAM * plan.opens_stream
        _PLAN.pack_into(
            memory,
            start + _PLAN_OFFSET,
            *(plan.history_length, plan.steps, plan.alternatives, plan.top_k, plan.beams),
            *(len(stop), flags, plan.temperature, plan.top_p, plan.penalty),
            *(plan.seed, plan.first_step, plan.stream),
        )
        memory[start + _HEADER_BYTES : start + _HEADER_BYTES + len(stop)] = stop

    @property
    def history(self) -> NDArray[Any]:
        """``[T]`` int32 tokens, or ``[T, width]`` float32 values; a view."""
        elements, count = self.layout.elements, self.layout.plan.history_length
        offset = self.start + self.layout.history_offset
        if elements.is_tokens:
            return np.frombuffer(self._memory, np.int32, count, offset)
        width = elements.element_words
        flat = np.frombuffer(self._memory, np.float32, count * width, offset)
        return flat.reshape(count, width)

    def steps(self, start: int, stop: int) -> NDArray[np.int32]:
        """Steps ``start:stop`` as words ``[n, step_words]``; a view.

        Of tokens: the token, the bits of its log-probability, tokens of the alternatives, the bits
        of theirs. Of values: their bits. ``view(np.float32)`` reads bits.
        """
        words = self.layout.step_words
        offset = self.start + self.layout.steps_offset + start * words * WORD_BYTES
        flat = np.frombuffer(self._memory, np.int32, (stop - start) * words, offset)
        return flat.reshape(stop - start, words)

    @property
    def count(self) -> int:
        """How many steps are complete."""
        return self._word(COUNT_WORD)

    @property
    def finish_reason(self) -> FinishReason:
        """Why the continuation ended."""
        return FinishReason(self._word(FINISH_WORD))

    def _word(self, index: int) -> int:
        return struct.unpack_from("<i", self._memory, self.start + index * WORD_BYTES)[0]


def _read_plan(memory: memoryview, start: int) -> SequencePlan:
    history_length, steps, alternatives, top_k, beams, stop_bytes, flags, *rest = _PLAN.unpack_from(
        memory, start + _PLAN_OFFSET
    )
    temperature, top_p, penalty, seed, first_step, stream = rest
    stop: tuple[str, ...] = ()
    if stop_bytes:
        at = start + _HEADER_BYTES
        stop = tuple(json.loads(bytes(memory[at : at + stop_bytes])))
    return SequencePlan(
        history_length=history_length,
        steps=steps,
        alternatives=alternatives,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        penalty=penalty,
        seed=seed,
        beams=beams,
        stop=stop,
        reports_steps=bool(flags & _REPORTS_STEPS),
        first_step=first_step,
        stream=stream,
        opens_stream=bool(flags & _OPENS_STREAM),
    )
