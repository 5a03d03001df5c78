"""Steps joined from pieces are the messages that objects would have made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.step_wire import join_steps, token_heads
from sightline.v1 import sequence_pb2 as pb

VOCABULARIES = st.lists(st.text(max_size=200), min_size=1, max_size=300)
FLOATS = st.floats(width=32, allow_nan=False, max_value=0)


@given(st.data())
def test_steps_are_those_of_message_objects(data: st.DataObject) -> None:
    vocabulary = data.draw(VOCABULARIES)
    tokens = data.draw(st.lists(st.integers(0, len(vocabulary) - 1), max_size=20))
    log_probabilities = data.draw(st.lists(FLOATS, min_size=len(tokens), max_size=len(tokens)))
    expected = [
        pb.Step(text=vocabulary[token], token=token, log_probability=log_probability)
        for token, log_probability in zip(tokens, log_probabilities, strict=True)
    ]
    wire = join_steps(token_heads(vocabulary), tokens, np.array(log_probabilities, np.float32))
    for message in (pb.Continuation(), pb.PredictStreamResponse(), pb.FollowResponse()):
        message.MergeFromString(wire)
        assert list(message.steps) == expected


def test_steps_are_appended() -> None:
    message = pb.Continuation(steps=[pb.Step(text="a")], text="a")
    message.MergeFromString(join_steps(token_heads("ab"), [1], np.array([-0.5])))
    assert [step.text for step in message.steps] == ["a", "b"]
    assert message.text == "a"


def test_each_token_has_one_log_probability() -> None:
    with pytest.raises(ValueError, match="zip"):
        join_steps(token_heads("ab"), [0, 1], np.array([-0.5]))
