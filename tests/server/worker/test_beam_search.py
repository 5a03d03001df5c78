import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ipc.sequence_slot import FinishReason
from service.worker.decoding.beam_search import BeamSearch, NotFinite, stops

SIZE = 4
VOCABULARY = ("a", "b", "c", ".")
Tokens = tuple[int, ...]


def logits_after(tokens: Tokens, seed: int) -> np.ndarray:
    """Of a model whose next token depends on all before."""
    return np.random.default_rng((seed, len(tokens), *tokens)).normal(0, 2, SIZE).astype(np.float32)


def log_probability(tokens: Tokens, seed: int) -> float:
    total = 0.0
    for place, token in enumerate(tokens):
        logits = logits_after(tokens[:place], seed).astype(np.float64)
        total += logits[token] - math.log(np.exp(logits).sum())
    return total


def search(
    beams: int, steps: int, seed: int, stop: tuple[str, ...] = (), context: int = 99
) -> tuple[Tokens, FinishReason]:
    beam_search = BeamSearch(beams, steps, 2, VOCABULARY, stop, -1)
    open_: list[Tokens] = [()]
    for _ in range(context):
        logits = np.stack([logits_after(tokens, seed) for tokens in open_])
        parents = beam_search.advance(logits)
        open_ = [
            (*open_[parent], each.token)
            for parent, each in zip(parents, beam_search.open, strict=True)
        ]
        if beam_search.is_over:
            break
    best, end = beam_search.best()
    return tuple(step.token for step in best.steps()), end


@given(st.integers(0, 10**6))
def test_with_enough_beams_the_likeliest_text_is_found(seed: int) -> None:
    best = max(
        itertools.product(range(SIZE), repeat=3), key=lambda tokens: log_probability(tokens, seed)
    )
    found, end = search(16, 3, seed)
    assert end is FinishReason.STEPS
    assert log_probability(found, seed) >= log_probability(best, seed) - 1e-4


@given(st.integers(0, 10**6), st.integers(2, 6))
def test_more_beams_never_find_a_shorter_or_impossible_text(seed: int, beams: int) -> None:
    found, end = search(beams, 5, seed)
    assert (len(found), end) == (5, FinishReason.STEPS)


@given(st.integers(0, 10**6))
def test_a_stopped_text_is_ranked_by_its_mean_log_probability(seed: int) -> None:
    found, end = search(16, 2, seed, stop=(".",))
    candidates = [(3,)] + [(first, second) for first in range(3) for second in range(4)]
    best = max(candidates, key=lambda tokens: log_probability(tokens, seed) / len(tokens))
    gained = log_probability(found, seed) / len(found)
    assert gained >= log_probability(best, seed) / len(best) - 1e-4
    assert end is (FinishReason.STOP if found[-1] == 3 else FinishReason.STEPS)


@given(
    seed=st.integers(0, 10**6),
    beams=st.integers(2, 6),
    steps=st.integers(1, 8),
    context=st.integers(1, 10),
    stop=st.lists(st.sampled_from(["a", ".", "bc", "aba"]), max_size=2, unique=True),
)
def test_a_search_ends_for_the_reason_that_it_tells(
    seed: int, beams: int, steps: int, context: int, stop: list[str]
) -> None:
    found, end = search(beams, steps, seed, tuple(stop), context)
    text = "".join(VOCABULARY[token] for token in found)
    assert (end is FinishReason.STOP) == any(each in text for each in stop)
    assert not any(each in text[:-1] for each in stop)
    if end is FinishReason.STEPS:
        assert len(found) == steps
    if end is FinishReason.CONTEXT:
        assert len(found) == context < steps
    assert end is not FinishReason.OPEN


def test_a_search_goes_on_while_an_open_text_is_better_than_the_ended_ones() -> None:
    """Both beams end at once with an unlikely text, and a likely one is open."""
    beam_search = BeamSearch(2, 9, 0, VOCABULARY, ("b", "c"), -1)
    parents = beam_search.advance(np.log([[0.9, 0.06, 0.03, 0.01]]).astype(np.float32))
    assert [each.text for each in beam_search.open] == ["a", "."]
    assert parents == [0, 0]
    assert not beam_search.is_over
    logits = np.log([[0.01, 0.97, 0.01, 0.01], [0.25] * 4]).astype(np.float32)
    beam_search.advance(logits)
    best, end = beam_search.best()
    assert (beam_search.is_over, end, best.text) == (True, FinishReason.STOP, "ab")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_not_finite_end_a_search(wrong: float) -> None:
    beam_search = BeamSearch(2, 9, 0, VOCABULARY, (), -1)
    beam_search.advance(np.zeros((1, SIZE), np.float32))
    logits = np.zeros((2, SIZE), np.float32)
    logits[1, 2] = wrong
    with pytest.raises(NotFinite):
        beam_search.advance(logits)


def test_an_impossible_token_is_never_chosen() -> None:
    beam_search = BeamSearch(4, 2, 0, VOCABULARY, (), -1)
    logits = np.array([[0, -np.inf, 0, -np.inf]], np.float32)
    assert beam_search.advance(logits) == [0, 0]
    beam_search.advance(np.repeat(logits, 2, axis=0))
    best, _ = beam_search.best()
    assert {each.token for each in best.steps()} <= {0, 2}


def test_a_string_stops_only_when_it_ends_in_what_was_added() -> None:
    assert stops("the sun", "n", ("sun",))
    assert stops("the suns.", "ns.", ("sun",))  # a token of several characters may go on
    assert not stops("sun day", "y", ("sun",))
    assert not stops("the sun", "n", ("sunny", "x"))
