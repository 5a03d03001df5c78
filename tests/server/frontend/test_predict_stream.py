"""``SequenceService.PredictStream``: steps as they are made, and what may happen meanwhile."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from sightline.v1 import models_pb2
from sightline.v1 import sequence_pb2 as pb
from tests.support.requests import fails_with, history, predict, predict_options
from tests.support.running import Server, running_server
from tests.support.stubs import Stubs

LIVE = 'sightline_live_sequences{model="lstm"}'


def stream(text: str, model: str = "lstm", **options: object) -> pb.PredictStreamRequest:
    return pb.PredictStreamRequest(
        model=models_pb2.ModelSelector(name=model),
        history=history(text),
        options=predict_options(**options),
    )


def text_of(messages: list[pb.PredictStreamResponse]) -> str:
    return "".join(step.text for message in messages for step in message.steps)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.9, "seed": 7}, {"beams": 3}, {"top_alternatives": 3}]
)
@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_a_stream_equals_the_single_answer(
    sequence_stubs: Stubs, model: str, options: dict[str, float]
) -> None:
    messages = list(
        sequence_stubs.sequences.PredictStream(stream("the sun", model, max_steps=30, **options))
    )
    request = predict("the sun", model=model, max_steps=30, **options)
    whole = sequence_stubs.sequences.Predict(request).results[0].continuation
    assert [step for message in messages for step in message.steps] == list(whole.steps)
    assert [message.finish_reason for message in messages] == [0] * (len(messages) - 1) + [
        pb.FINISH_REASON_STEPS
    ]
    assert [message.HasField("model") for message in messages] == [True] + [False] * (
        len(messages) - 1
    )
    assert messages[-1].timing.run_seconds > 0


def test_a_stream_of_nonsense_is_refused_before_its_first_message(sequence_stubs: Stubs) -> None:
    with fails_with(grpc.StatusCode.INVALID_ARGUMENT, "'N' (U+004E)"):
        list(sequence_stubs.sequences.PredictStream(stream("NO", max_steps=3)))


def test_a_slow_reader_delays_no_other_call_and_gets_every_message(sequence_stubs: Stubs) -> None:
    options = {"temperature": 1.0, "seed": 3, "top_alternatives": 20, "max_steps": 4096}
    slow = sequence_stubs.sequences.PredictStream(stream("the sun", **options))
    first = next(slow)
    others = [predict("the day", max_steps=300), predict("a", model="transformer", max_steps=20)]
    for request in others * 5:
        assert sequence_stubs.sequences.Predict(request).results[0].continuation.steps
    messages = [first, *slow]
    assert sum(len(message.steps) for message in messages) == 4096
    assert len(messages) < 4096  # what was ready shared a message


def test_a_cancelled_stream_frees_its_row_and_its_memory(
    sequence_server: Server, sequence_stubs: Stubs
) -> None:
    calls = [
        sequence_stubs.sequences.PredictStream(stream("the sun", max_steps=4096)) for _ in range(8)
    ]
    for call in calls:
        next(call)
        call.cancel()
    sequence_server.assert_eventually(lambda it: it.metric(LIVE) == 0, timeout_s=20)
    sequence_server.assert_eventually(
        lambda it: it.metric("sightline_slots_in_use") == 0, timeout_s=20
    )


def test_stop_strings_end_a_stream_even_across_tokens(sequence_stubs: Stubs) -> None:
    whole = text_of(list(sequence_stubs.sequences.PredictStream(stream("the sun", max_steps=30))))
    stop = whole[9:12]
    messages = list(
        sequence_stubs.sequences.PredictStream(stream("the sun", max_steps=30, stop=["#", stop]))
    )
    assert text_of(messages) == whole[: whole.index(stop) + len(stop)]
    assert messages[-1].finish_reason == pb.FINISH_REASON_STOP


@pytest.mark.parametrize("beams", [1, 4])
def test_a_stop_string_is_the_end_of_the_answer_or_is_left_out(
    sequence_stubs: Stubs, beams: int
) -> None:
    options: dict[str, Any] = {"max_steps": 30, "beams": beams}
    (plain,) = sequence_stubs.sequences.Predict(predict("the sun", **options)).results
    options |= {"stop": ["#", plain.continuation.text[9:12]]}
    answers: list[pb.Continuation] = []
    for exclude_stop in (False, True):
        request = predict("the sun", **options, exclude_stop=exclude_stop)
        answer = sequence_stubs.sequences.Predict(request).results[0].continuation
        asked = stream("the sun", **options, exclude_stop=exclude_stop)
        messages = list(sequence_stubs.sequences.PredictStream(asked))
        assert text_of(messages) == answer.text
        assert messages[-1].finish_reason == answer.finish_reason
        answers.append(answer)
    with_stop, without = answers
    if beams == 1:
        assert with_stop.finish_reason == pb.FINISH_REASON_STOP
    if with_stop.finish_reason == pb.FINISH_REASON_STOP:
        assert with_stop.text == without.text + options["stop"][1]
        assert list(without.steps) == list(with_stop.steps)[: len(without.text)]


@pytest.fixture
def own_server(sequence_models: Path) -> Iterator[Server]:
    """One that may be harmed."""
    with running_server(sequence_models) as running:
        running.wait_until_ready()
        yield running


def test_streams_go_on_where_they_were_when_their_worker_is_killed(
    own_server: Server, sequence_stubs: Stubs
) -> None:
    """Sampled with seeds: a step made twice or left out would change all that follow."""
    options = [{"max_steps": 2000, "temperature": 1.0, "seed": seed} for seed in range(16)]
    under_way = threading.Barrier(17)

    def read(index: int) -> str:
        text = "the sun shines on us"[: 1 + index]
        with grpc.insecure_channel(own_server.target) as channel:
            call = Stubs(channel).sequences.PredictStream(stream(text, **options[index]))
            messages = [next(call)]
            under_way.wait()
            messages += call
        assert messages[-1].finish_reason == pb.FINISH_REASON_STEPS
        return text_of(messages)

    with ThreadPoolExecutor(16) as threads:
        reading = [threads.submit(read, index) for index in range(16)]
        under_way.wait()
        (worker,) = own_server.pids("worker")
        os.kill(worker, signal.SIGKILL)
        made = [each.result() for each in reading]
    assert own_server.metric("sightline_rerun_requests_total") > 0
    for index, text in enumerate(made):
        request = predict("the sun shines on us"[: 1 + index], **options[index])
        continuation = sequence_stubs.sequences.Predict(request).results[0].continuation
        assert text == continuation.text
