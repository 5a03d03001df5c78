"""What is answered when the stop string is left out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.artifact.sections import SequenceSection
from service.frontend.sequence.options import ContinuationOptions
from service.frontend.sequence.stop_exclusion import answered_steps
from service.ipc.sequence_slot import (
    COUNT_WORD,
    FINISH_WORD,
    ElementLayout,
    FinishReason,
    SequenceLayout,
    SequencePlan,
    SequenceSlot,
)
from service.worker.decoding.beam_search import stops

END = 6
SECTION = SequenceSection(
    kind="tokens", vocabulary=("a", "b", "ab", "bca", "c", "", "<end>"), end_token=END
)
STOPS = st.lists(
    st.sampled_from(["a", "ab", "abc", "cab", "bcab", "<", "aaaa"]),
    min_size=1,
    max_size=3,
    unique=True,
)


def slot_with(tokens: list[int], stop: tuple[str, ...], reason: FinishReason) -> SequenceSlot:
    """All steps of a continuation, and why it ended."""
    layout = SequenceLayout.of(ElementLayout(True, 1, 0), SequencePlan(1, len(tokens), stop=stop))
    memory = memoryview(bytearray(layout.size))
    slot = SequenceSlot(memory, 0, layout)
    slot.write_plan()
    slot.steps(0, len(tokens))[:, 0] = tokens
    words = np.frombuffer(memory, np.int32)
    words[COUNT_WORD], words[FINISH_WORD] = len(tokens), reason
    return slot


def cut(tokens: list[int], stop: tuple[str, ...]) -> tuple[list[int], FinishReason, str]:
    """The tokens up to the one that stops; and the text without what stopped it."""
    text = ""
    for count, token in enumerate(tokens, 1):
        added = SECTION.vocabulary[token]
        if token == END:
            return tokens[:count], FinishReason.STOP, text
        text += added
        if stops(text, added, stop):
            first = min(place for each in stop if (place := text.find(each)) >= 0)
            return tokens[:count], FinishReason.STOP, text[:first]
    return tokens, FinishReason.STEPS, text


@given(st.lists(st.integers(0, END), min_size=1, max_size=12), STOPS)
def test_the_answer_ends_in_front_of_what_stopped_it_and_no_stream_takes_a_step_back(
    tokens: list[int], stop: list[str]
) -> None:
    made, reason, expected = cut(tokens, tuple(stop))
    slot = slot_with(made, tuple(stop), reason)
    options = ContinuationOptions(slot.layout.plan, None, excludes_stop=True)
    count, last_text = answered_steps(slot, len(made), SECTION, options)
    texts = [SECTION.vocabulary[token] for token in made[:count]]
    if last_text is not None:
        texts[-1] = last_text
    assert "".join(texts) == expected
    sent = 0
    for complete in range(len(made)):  # the last step comes with the end
        now = answered_steps(slot, complete, SECTION, options, is_ended=False)
        assert sent <= now.number
        assert now.last_text is None
        sent = now.number
    assert sent <= count
    assert last_text is None or sent < count  # a step that was sent is not shortened


def test_steps_that_cannot_belong_to_a_stop_string_are_not_kept_back() -> None:
    slot = slot_with([0, 4, 0, 1], ("abc",), FinishReason.OPEN)
    options = ContinuationOptions(slot.layout.plan, None, excludes_stop=True)
    sent = [
        answered_steps(slot, count, SECTION, options, is_ended=False).number for count in range(5)
    ]
    assert sent == [0, 0, 2, 2, 2]


def test_all_steps_are_answered_unless_the_stop_string_is_to_be_left_out() -> None:
    slot = slot_with([0, 1], ("ab",), FinishReason.STOP)
    options = ContinuationOptions(slot.layout.plan, None)
    assert answered_steps(slot, 2, SECTION, options) == (2, None)
