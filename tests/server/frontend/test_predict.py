"""``SequenceService.Predict``, as a caller sees it."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sightline.v1 import models_pb2
from sightline.v1 import sequence_pb2 as pb
from tests.support.requests import fails_with, predict, predict_options
from tests.support.running import Server
from tests.support.sequences import CHUNK, CONTEXT, VOCABULARY, continue_greedily, forecast
from tests.support.stubs import Stubs

TEXTS = [
    ("the sun shines on all of us, the same every day.\n" * 2)[place : place + 1 + 5 * place]
    for place in range(16)
]


def said(stubs: Stubs, request: pb.PredictRequest) -> list[str]:
    results = stubs.sequences.Predict(request).results
    return [result.continuation.text for result in results]


def fails(stubs: Stubs, request: pb.PredictRequest, code: grpc.StatusCode, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.sequences.Predict(request)
    details = caught.value.details() or ""
    assert (caught.value.code(), bool(re.search(text, details))) == (code, True), details


@pytest.mark.parametrize("model", ["lstm", "transformer", "markov", "autoregressive"])
@pytest.mark.parametrize("length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_a_text_is_continued_as_the_model_alone_continues_it(
    sequence_stubs: Stubs, sequence_models: Path, model: str, length: int
) -> None:
    text = ("the day is long, and so it goes. " * 2)[:length]
    expected = continue_greedily(sequence_models / model / "1", text, 12)
    assert said(sequence_stubs, predict(text, model=model, max_steps=12)) == [expected]


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_sixteen_concurrent_texts_equal_each_text_alone(
    sequence_stubs: Stubs, sequence_models: Path, model: str
) -> None:
    texts = [text[: CONTEXT - 16] for text in TEXTS]
    requests = [predict(text, model=model, max_steps=16) for text in texts]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda each: said(sequence_stubs, each)[0], requests))
    alone = [said(sequence_stubs, request)[0] for request in requests]
    in_one_call = said(sequence_stubs, predict(*texts, model=model, max_steps=16))
    expected = [continue_greedily(sequence_models / model / "1", text, 16) for text in texts]
    assert together == alone == in_one_call == expected


def test_a_step_has_its_token_and_its_probability(sequence_stubs: Stubs) -> None:
    request = predict("the sun", max_steps=3, top_alternatives=len(VOCABULARY) - 10)
    response = sequence_stubs.sequences.Predict(request)
    continuation = response.results[0].continuation
    assert continuation.finish_reason == pb.FINISH_REASON_STEPS
    assert continuation.text == "".join(step.text for step in continuation.steps)
    for step in continuation.steps:
        assert step.text == VOCABULARY[step.token]
        best = step.alternatives[0]
        assert (best.token, best.text) == (step.token, step.text)
        assert best.log_probability == pytest.approx(step.log_probability, abs=1e-5)
        probabilities = np.exp([each.log_probability for each in step.alternatives])
        assert len(probabilities) == len(VOCABULARY) - 10
        assert list(probabilities) == sorted(probabilities, reverse=True)
        assert 0 < probabilities.sum() <= 1 + 1e-5
    assert response.model.name == "lstm"
    assert response.timing.device == "cpu"
    assert 0 < response.timing.run_seconds <= response.timing.total_seconds


def test_the_probabilities_of_all_tokens_add_up_to_one(sequence_stubs: Stubs) -> None:
    """The chosen one's is its own, whatever the temperature."""
    options = {"max_steps": 4, "temperature": 3.0, "top_alternatives": 20, "seed": 5}
    response = sequence_stubs.sequences.Predict(predict("the sun", **options))
    for step in response.results[0].continuation.steps:
        told = {each.token: each.log_probability for each in step.alternatives}
        if step.token in told:
            assert step.log_probability == pytest.approx(told[step.token], abs=1e-5)


def test_tokens_are_continued_as_their_text_is(sequence_stubs: Stubs) -> None:
    ids = [VOCABULARY.index(character) for character in "the sun"]
    as_tokens = predict(pb.History(tokens=pb.Tokens(ids=ids)), max_steps=8)
    as_text = predict("the sun", max_steps=8)
    assert said(sequence_stubs, as_tokens) == said(sequence_stubs, as_text)


def test_a_full_context_ends_a_continuation(sequence_stubs: Stubs) -> None:
    request = predict("a" * (CONTEXT - 3), model="transformer", max_steps=40)
    continuation = sequence_stubs.sequences.Predict(request).results[0].continuation
    assert len(continuation.steps) == 4  # the last one is predicted from the full context
    assert continuation.finish_reason == pb.FINISH_REASON_CONTEXT


def test_values_are_continued_as_the_model_alone_continues_them(
    sequence_stubs: Stubs, sequence_models: Path
) -> None:
    values = np.random.default_rng(0).normal(20, 9, (21, 2)).astype(np.float32)
    expected = forecast(sequence_models / "gru" / "1", values, 5)
    request = predict(values.ravel().tolist(), model="gru", max_steps=5)
    steps = sequence_stubs.sequences.Predict(request).results[0].continuation.steps
    np.testing.assert_allclose([step.values for step in steps], expected, rtol=1e-4)
    offsets = [np.subtract(step.upper, step.values) for step in steps]
    np.testing.assert_allclose(offsets, [[1, 2], *[[3, 6]] * 4], rtol=1e-4, atol=1e-4)


def test_one_bad_history_fails_only_itself(sequence_stubs: Stubs) -> None:
    good, bad, empty = sequence_stubs.sequences.Predict(
        predict("the sun", "THE SUN", "", max_steps=2)
    ).results
    assert len(good.continuation.steps) == 2
    assert bad.error.code == empty.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "'T' (U+0054)" in bad.error.message


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (predict("a", max_steps=1_000_000), "max_steps is 1e.06; 1 to 4096"),
        (predict("a", max_steps=0), "max_steps is 0"),
        (predict("a", temperature=-1.0), "temperature is -1"),
        (predict("a", temperature=float("nan")), "temperature is nan"),
        (predict("a", top_k=0), "top_k is 0; 1 to 30"),
        (predict("a", top_k=31), "top_k is 31; 1 to 30"),
        (predict("a", top_p=0.0), "top_p is 0"),
        (predict("a", top_p=1.5), "top_p is 1.5"),
        (predict("a", repetition_penalty=0.5), "repetition_penalty is 0.5"),
        (predict("a", beams=17), "beams is 17; 1 to 16"),
        (predict("a", beams=2, temperature=0.5), "unset temperature and repetition_penalty"),
        (predict("a", top_alternatives=21), "top_alternatives is 21; 0 to 20"),
        (predict("a", stop=[""]), "the length of a stop string is 0"),
        (predict("a", stop=["a"] * 17), "the number of stop strings is 17"),
        (predict("a", interval=0.5), "interval is for models of numbers"),
        (predict(), "1 to 64 histories"),
        (predict(*["a"] * 65), "1 to 64 histories"),
        (predict(""), "history is empty"),
        (predict(pb.History()), "history holds nothing"),
        (predict([1.0, 2.0]), "takes text or tokens; the history holds values"),
        (predict("naïve"), r"character 3, 'ï' \(U\+00EF\), is not in"),
        (predict(pb.History(tokens=pb.Tokens(ids=[0, 30]))), "token 30 at position 2 is outside"),
        (predict("a" * (CONTEXT + 1), model="transformer"), f"has {CONTEXT + 1} char.*{CONTEXT}"),
        (predict("a", model="gru"), "takes values; the history holds text"),
        (predict([1.0, float("nan")], model="gru"), "value 2 is nan"),
        (predict([1.0, float("inf")], model="gru"), "value 2 is inf"),
        (predict([1.0, 2.0, 3.0], model="gru"), "not a multiple of the 2 series"),
        (predict(pb.History(values=pb.Values(values=[1])), model="gru"), "series is 1; .* 2"),
        (predict([1.0, 2.0], model="gru", temperature=0.5), "sampling is for models of text"),
        (predict([1.0, 2.0], model="gru", stop=["a"]), "stop is for models of text"),
        (predict([1.0, 2.0], model="gru", exclude_stop=True), "exclude_stop is for models of text"),
        (predict([1.0, 2.0], model="gru", interval=1.0), "interval is 1; over 0"),
        (predict([1.0, 2.0], model="gru", interval=0.95), "support intervals up to 0.9"),
    ],
)
def test_an_invalid_request_is_refused_with_a_sentence(
    sequence_stubs: Stubs, request_: pb.PredictRequest, message: str
) -> None:
    fails(sequence_stubs, request_, grpc.StatusCode.INVALID_ARGUMENT, message)


def test_another_task_and_an_unknown_model_have_their_own_status(
    sequence_stubs: Stubs, stubs: Stubs
) -> None:
    fails(sequence_stubs, predict("a", model="nobody"), grpc.StatusCode.NOT_FOUND, "no model")
    wrong = grpc.StatusCode.FAILED_PRECONDITION
    fails(stubs, predict("a", model="tiny"), wrong, "is a classification model")


def test_a_deadline_that_passes_frees_the_sequence(
    sequence_server: Server, sequence_stubs: Stubs
) -> None:
    request = predict(*["the sun"] * 32, max_steps=4096)
    with fails_with(grpc.StatusCode.DEADLINE_EXCEEDED):
        sequence_stubs.sequences.Predict(request, timeout=0.2)
    assert said(sequence_stubs, predict("the sun", max_steps=1))
    sequence_server.wait_until(
        lambda it: it.metric('sightline_live_sequences{model="lstm"}') == 0, timeout_s=10
    )


def test_more_sequences_than_there_are_rows_wait_and_are_answered(sequence_stubs: Stubs) -> None:
    """There are 32."""
    texts = ["the sun"[: 1 + index % 7] for index in range(64)]
    together = said(sequence_stubs, predict(*texts, max_steps=20))
    assert together == [said(sequence_stubs, predict(text, max_steps=20))[0] for text in texts]


def test_health_and_the_list_of_models_include_sequences(sequence_stubs: Stubs) -> None:
    health: Any = health_pb2_grpc.HealthStub(sequence_stubs.channel)
    service = health_pb2.HealthCheckRequest(service="sightline.v1.SequenceService")
    assert health.Check(service).status == health_pb2.HealthCheckResponse.SERVING
    models = sequence_stubs.models.ListModels(models_pb2.ListModelsRequest()).models
    assert {each.task for each in models} == {models_pb2.TASK_SEQUENCE}


def test_steps_and_elements_are_counted(sequence_server: Server, sequence_stubs: Stubs) -> None:
    lines = [
        'sightline_sequence_steps_total{model="markov"}',
        'sightline_sequence_elements_read_total{model="markov"}',
        'sightline_items_total{code="OK",model="markov"}',
    ]
    time.sleep(0.6)  # what others did is written by now
    before = [sequence_server.metric(line) for line in lines]
    request = predict("the sun", "a", model="markov", max_steps=5)
    sequence_stubs.sequences.Predict(request)
    wanted = [value + more for value, more in zip(before, (10, 8, 2), strict=True)]
    sequence_server.assert_eventually(
        lambda it: [it.metric(line) for line in lines] == wanted, timeout_s=10
    )


def test_options_left_unset_mean_one_greedy_step(sequence_stubs: Stubs) -> None:
    request = predict("the sun")
    assert request.options == predict_options()
    continuation = sequence_stubs.sequences.Predict(request).results[0].continuation
    assert len(continuation.steps) == 1
    assert said(sequence_stubs, predict("the sun", max_steps=2))[0].startswith(continuation.text)
