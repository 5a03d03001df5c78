import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.requests.histories import count_steps, history_from, join
from sightline.v1.sequence_pb2 import History

ENOUGH = 1 << 20
FLOATS = st.floats(-1e3, 1e3, width=32)


def message(history) -> History:
    return history_from(history, max_bytes=ENOUGH)


@given(st.lists(st.text(min_size=1), min_size=1), st.integers(1, 20))
def test_the_last_characters_of_successive_texts_are_kept(texts, keep):
    joined = History()
    for text in texts:
        joined = join(joined, message(text), keep=keep)
    assert joined.text == "".join(texts)[-keep:]
    assert count_steps(joined) == len(joined.text)


@given(st.lists(st.lists(st.integers(0, 99), min_size=1), min_size=1), st.integers(1, 20))
def test_the_last_tokens_are_kept(rows, keep):
    joined = History()
    for row in rows:
        joined = join(joined, message(row), keep=keep)
    assert list(joined.tokens.ids) == [token for row in rows for token in row][-keep:]
    assert count_steps(joined) == len(joined.tokens.ids)


@given(st.integers(1, 3), st.integers(1, 20), st.data())
def test_the_last_steps_of_all_series_are_kept(series, keep, data):
    step = st.lists(FLOATS, min_size=series, max_size=series)
    parts = data.draw(st.lists(st.lists(step, min_size=1), min_size=1, max_size=5))
    joined = History()
    for part in parts:
        joined = join(joined, message(np.array(part)), keep=keep)
    expected = np.concatenate([np.array(part, np.float32) for part in parts])[-keep:]
    np.testing.assert_array_equal(
        np.array(joined.values.values, np.float32).reshape(-1, series), expected
    )
    assert count_steps(joined) == len(expected)


def test_kinds_are_not_mixed():
    with pytest.raises(ValueError, match="one kind: tokens first, now values"):
        join(message([1]), message([1.0]), keep=5)
    assert count_steps(History()) == 0
