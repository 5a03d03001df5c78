import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.processing.ctc import beam_search, greedy, own_frames, step_log_probabilities

logits_of_any = st.tuples(st.integers(0, 4), st.integers(2, 3)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-8, 8, width=32))
)


def read(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """Repeats are one, blanks are none; as the paper says it."""
    return tuple(token for token, _ in itertools.groupby(path) if token != blank)


def all_readings(logits: NDArray[np.float32], blank: int) -> dict[tuple[int, ...], float]:
    """Every reading's probability, by going through every alignment."""
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    steps, width = shares.shape
    readings: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(width), repeat=steps):
        probability = float(np.prod([shares[step, token] for step, token in enumerate(path)]))
        tokens = read(path, blank)
        readings[tokens] = readings.get(tokens, 0.0) + probability
    return readings


@settings(deadline=None, max_examples=40)
@given(logits=logits_of_any, blank=st.integers(0, 1))
def test_greedy_reads_the_likeliest_alignment(logits: NDArray[np.float32], blank: int) -> None:
    path = tuple(int(token) for token in logits.argmax(axis=1))
    assert greedy(logits, blank).tokens == read(path, blank)


@settings(deadline=None, max_examples=40)
@given(logits=logits_of_any, blank=st.integers(0, 1))
def test_a_wide_beam_finds_every_text_and_its_probability(
    logits: NDArray[np.float32], blank: int
) -> None:
    expected = all_readings(logits, blank)
    found = beam_search(logits, beams=2000, blank=blank)
    assert {reading.tokens for reading in found} == set(expected)
    for reading in found:
        assert np.exp(reading.log_probability) == pytest.approx(expected[reading.tokens], rel=1e-6)
    likelihoods = [reading.log_probability for reading in found]
    assert likelihoods == sorted(likelihoods, reverse=True)


@settings(deadline=None, max_examples=40)
@given(logits=logits_of_any, beams=st.integers(1, 4))
def test_a_narrow_beam_never_claims_more_than_the_truth(
    logits: NDArray[np.float32], beams: int
) -> None:
    expected = all_readings(logits, 0)
    found = beam_search(logits, beams)
    assert 1 <= len(found) <= beams
    for reading in found:
        assert np.exp(reading.log_probability) <= expected[reading.tokens] * (1 + 1e-6)


def test_many_alignments_together_beat_the_likeliest_one() -> None:
    """The blank wins each step; the three alignments of one token win together."""
    logits = np.log(np.array([[0.6, 0.4], [0.6, 0.4]], np.float32))
    assert greedy(logits).tokens == ()
    assert beam_search(logits, beams=2)[0].tokens == (1,)
    assert np.exp(beam_search(logits, beams=2)[0].log_probability) == pytest.approx(0.64, rel=1e-5)


def test_a_repeated_token_needs_a_blank_between() -> None:
    def sure(*path: int) -> NDArray[np.float32]:
        return np.eye(3, dtype=np.float32)[list(path)] * 50

    assert greedy(sure(1, 1, 2)).tokens == beam_search(sure(1, 1, 2), 3)[0].tokens == (1, 2)
    assert greedy(sure(1, 0, 1)).tokens == beam_search(sure(1, 0, 1), 3)[0].tokens == (1, 1)


@settings(deadline=None, max_examples=60)
@given(
    logits=logits_of_any.filter(len), blank=st.integers(0, 1), alignment=st.integers(0, 3**4 - 1)
)
def test_a_decode_step_is_as_likely_as_all_texts_that_continue_with_it(
    logits: NDArray[np.float32], blank: int, alignment: int
) -> None:
    steps, width = logits.shape
    path = [alignment // width**step % width for step in range(steps)]
    tokens = read(tuple(path), blank)
    expected = all_readings(logits, blank)

    def begun(prefix: tuple[int, ...]) -> float:
        return sum(share for each, share in expected.items() if each[: len(prefix)] == prefix)

    told = np.exp(step_log_probabilities(logits, tokens, blank))
    shares = [begun(tokens[: count + 1]) / begun(tokens[:count]) for count in range(len(tokens))]
    np.testing.assert_allclose(told, shares, rtol=1e-6)
    assert (told <= 1).all()


@given(frames=st.integers(0, 60), length=st.integers(1, 400), padding=st.integers(0, 400))
def test_a_history_has_the_frames_of_its_share_of_the_row(
    frames: int, length: int, padding: int
) -> None:
    kept = len(own_frames(np.zeros((frames, 2), np.float32), length, length + padding))
    assert kept * (length + padding) >= frames * length > (kept - 1) * (length + padding)
    assert kept <= frames
