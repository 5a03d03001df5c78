"""What is joined from pieces are the messages that objects would have made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.frontend.response_encoding import join, label_prefixes, token_prefixes
from sightline.v1 import classification_pb2
from sightline.v1 import sequence_pb2 as pb

NAMES = st.lists(st.text(max_size=200), min_size=1, max_size=300)
FLOATS = st.floats(width=32, allow_nan=False, max_value=0)


@given(st.data())
def test_encoded_steps_equal_those_of_message_objects(data: st.DataObject) -> None:
    vocabulary = data.draw(NAMES)
    tokens = data.draw(st.lists(st.integers(0, len(vocabulary) - 1), max_size=20))
    values = data.draw(st.lists(FLOATS, min_size=len(tokens), max_size=len(tokens)))
    expected = [
        pb.Step(text=vocabulary[token], token=token, log_probability=value)
        for token, value in zip(tokens, values, strict=True)
    ]
    encoded = join(token_prefixes(vocabulary), tokens, values)
    for message in (pb.Continuation(), pb.PredictStreamResponse(), pb.FollowResponse()):
        message.MergeFromString(encoded)
        assert list(message.steps) == expected


@given(st.data())
def test_encoded_labels_equal_those_of_message_objects(data: st.DataObject) -> None:
    names = data.draw(NAMES)
    classes = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=20))
    scores = [float(np.float32(data.draw(st.floats(0, 1, allow_subnormal=False)))) for _ in classes]
    message = classification_pb2.Classification()
    message.MergeFromString(join(label_prefixes(names), classes, scores))
    assert list(message.labels) == [
        classification_pb2.Label(name=names[index], index=index, score=score)
        for index, score in zip(classes, scores, strict=True)
    ]


def test_steps_are_appended() -> None:
    message = pb.Continuation(steps=[pb.Step(text="a")], text="a")
    message.MergeFromString(join(token_prefixes("ab"), [1], [-0.5]))
    assert [step.text for step in message.steps] == ["a", "b"]
    assert message.text == "a"


def test_each_token_has_one_log_probability() -> None:
    with pytest.raises(ValueError, match="assign sequence"):
        join(token_prefixes("ab"), [0, 1], [-0.5])
