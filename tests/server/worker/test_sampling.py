from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.ipc.sequence_slot import SequencePlan
from service.worker.decoding.sampling import (
    Sampler,
    choose,
    choose_likeliest,
    likeliest,
    log_sum_exp,
)

LOGITS = arrays.arrays(np.float32, (3, 7), elements=st.floats(-8, 8, width=32), unique=True)
NOTHING = np.empty(0, np.int32)


def sampler(history: list[int] | None = None, **options: Any) -> Sampler:
    return Sampler(SequencePlan(1, 100, **options), 7, np.array(history or [], np.int32))


def frequencies(logits: np.ndarray, draws: int = 4000, **options: Any) -> np.ndarray:
    """How often each token is drawn from one row of logits."""
    row = np.asarray(logits, np.float32)[None]
    drawing = Sampler(SequencePlan(1, draws, seed=11, **options), len(logits), NOTHING)
    tokens = [int(choose(row, [drawing], [step]).tokens[0]) for step in range(draws)]
    return np.bincount(tokens, minlength=len(logits)) / draws


@given(LOGITS)
def test_the_likeliest_has_the_largest_logit_and_its_probability(logits: np.ndarray) -> None:
    tokens, log_probabilities = choose_likeliest(logits)
    exact = logits.astype(np.float64)
    probabilities = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(tokens, logits.argmax(axis=1))
    np.testing.assert_allclose(np.exp(log_probabilities), probabilities.max(axis=1), rtol=1e-4)


@given(LOGITS, st.integers(1, 7))
def test_alternatives_are_sorted_and_begin_with_the_likeliest(
    logits: np.ndarray, count: int
) -> None:
    tokens, log_probabilities = likeliest(logits, count)
    assert tokens.shape == log_probabilities.shape == (3, count)
    np.testing.assert_array_equal(tokens[:, 0], logits.argmax(axis=1))
    assert (np.diff(log_probabilities, axis=1) <= 0).all()


@given(LOGITS, st.integers(0, 2**64 - 1), st.integers(0, 10_000))
def test_a_draw_depends_on_seed_and_step_alone(logits: np.ndarray, seed: int, step: int) -> None:
    def draw(row: int, others: list[int]) -> int:
        rows = [row, *others]
        samplers = [sampler(temperature=1.0, seed=seed) for _ in rows]
        return int(choose(logits[rows], samplers, [step, *[3] * len(others)]).tokens[0])

    assert draw(0, []) == draw(0, [1, 2])
    resumed = sampler(temperature=1.0, seed=seed, first_step=step)
    assert int(choose(logits[:1], [resumed], [0]).tokens[0]) == draw(0, [])


def test_draws_follow_the_probabilities() -> None:
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(
        frequencies(logits, temperature=1.0), [0.5, 0.3, 0.15, 0.05], atol=0.03
    )
    hot = np.array([0.5, 0.3, 0.15, 0.05]) ** 0.5
    np.testing.assert_allclose(frequencies(logits, temperature=2.0), hot / hot.sum(), atol=0.03)


def test_top_k_and_top_p_leave_out_the_unlikely() -> None:
    logits = np.log([0.15, 0.5, 0.05, 0.3])
    np.testing.assert_allclose(
        frequencies(logits, temperature=1.0, top_k=2), [0, 0.625, 0, 0.375], atol=0.03
    )
    np.testing.assert_allclose(
        frequencies(logits, temperature=1.0, top_p=0.79), [0, 0.625, 0, 0.375], atol=0.03
    )
    # The first that reaches the share is in; of two, the share of what top_k has left counts.
    assert set(np.flatnonzero(frequencies(logits, 500, temperature=1.0, top_p=0.81))) == {0, 1, 3}
    both = frequencies(logits, 500, temperature=1.0, top_k=3, top_p=0.5)
    assert set(np.flatnonzero(both)) == {1}


def test_a_penalty_makes_what_occurred_less_likely_whatever_its_sign() -> None:
    logits = np.array([[2.0, 1.5, -1.0, -1.5, -9, -9, -9]], np.float32)
    chooses = sampler(history=[0], penalty=2.0)
    assert choose(logits, [chooses], [0]).tokens[0] == 1  # 2 / 2 is less than 1.5
    assert choose(logits, [chooses], [1]).tokens[0] == 0  # 1 against 1.5 / 2: 1 occurred now, too
    negative = np.array([[-1.0, -1.5, -9, -9, -9, -9, -9]], np.float32)
    assert choose(negative, [sampler(history=[0], penalty=2.0)], [0]).tokens[0] == 1


def test_the_reported_probability_is_that_of_the_model() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1]], np.float32))
    only = Sampler(SequencePlan(1, 1, temperature=0.1, top_k=1, penalty=3.0), 3, NOTHING)
    chosen = choose(logits, [only], [0])
    assert np.exp(chosen.log_probabilities[0]) == pytest.approx(0.7, rel=1e-4)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 9.99e3, -1e4]], np.float32)
    np.testing.assert_allclose(log_sum_exp(logits), [1e4], rtol=1e-3)
    cold = sampler(temperature=1e-3)
    chosen = choose(np.pad(logits, [(0, 0), (0, 4)], constant_values=-1e4), [cold], [0])
    assert (chosen.tokens[0], chosen.log_probabilities[0]) == (0, pytest.approx(-4.5e-5, abs=1e-4))
