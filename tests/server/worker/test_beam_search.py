import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.ipc.sequence_slot import FinishReason
from service.worker.decoding.beam_search import BeamSearch, stops

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
    beams: int, steps: int, seed: int, stop: tuple[str, ...] = ()
) -> tuple[Tokens, FinishReason]:
    beam_search = BeamSearch(beams, steps, 2, VOCABULARY, stop, -1)
    open_: list[Tokens] = [()]
    while not beam_search.is_over or (not beam_search.open and open_ == [()]):
        logits = np.stack([logits_after(tokens, seed) for tokens in open_])
        parents = beam_search.advance(logits)
        open_ = [
            (*open_[parent], each.token)
            for parent, each in zip(parents, beam_search.open, strict=True)
        ]
        if beam_search.is_over:
            break
    best, end = beam_search.best(FinishReason.CONTEXT)
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


def test_a_string_stops_only_when_it_ends_in_what_was_added() -> None:
    assert stops("the sun", "n", ("sun",))
    assert stops("the suns.", "ns.", ("sun",))  # a token of several characters may go on
    assert not stops("sun day", "y", ("sun",))
    assert not stops("the sun", "n", ("sunny", "x"))
