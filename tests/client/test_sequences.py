"""Continuations and observations through both clients."""

import asyncio
import gc
from itertools import islice

import grpc
import numpy as np
import pytest

import sightline
from sightline import FinishReason, ItemFailed
from sightline.v1 import sequence_pb2
from tests.support.counter import ABORTED, NEVER, UNAVAILABLE


def test_a_text_is_continued(client, counter):
    answer = client.predict("abc", model="counter", max_steps=3, alternatives=2)

    assert (answer.text, answer.tokens) == ("def", (100, 101, 102))
    assert answer.finish_reason is FinishReason.STEPS
    assert answer.steps[0].log_probability == -0.5
    assert answer.steps[0].alternatives[1] == sightline.Alternative("b", 98, -1)
    assert answer.values.shape == (3, 0)
    assert answer.model == sightline.ModelIdentity("counter", 4, "ef" * 32)
    assert answer.timing.batch_size == 2


@pytest.mark.parametrize("history", [[3, 4], (3, 4), np.array([3, 4], np.int32)])
def test_whole_numbers_are_tokens(client, counter, history):
    assert client.predict(history, model="counter", max_steps=2).tokens == (5, 6)
    assert list(counter.requests[0].histories[0].tokens.ids) == [3, 4]


@pytest.mark.parametrize("history", [[3.0, 4.5], [3, 4.5], np.array([3, 4.5], np.float16)])
def test_numbers_with_a_point_are_values(client, counter, history):
    answer = client.predict(history, model="counter", max_steps=2, interval=0.5)

    assert answer.values.tolist() == [[5.5], [6.5]]
    assert answer.lower.tolist() == [[4.5], [4.5]]
    assert answer.upper.tolist() == [[6.5], [8.5]]
    (request,) = counter.requests
    assert request.options.interval == 0.5
    assert request.histories[0].values.series == 1


def test_several_series_are_continued_together(client, counter):
    answer = client.predict([[1.0, 10], [2, 20], [3, 30]], model="counter")

    assert answer.values.tolist() == [[4, 31]]
    assert list(counter.requests[0].histories[0].values.values) == [1, 10, 2, 20, 3, 30]


def test_options_reach_the_server_and_unset_ones_are_left_to_it(client, counter):
    sampling = {"temperature": 0.5, "top_k": 3, "top_p": 0.25, "repetition_penalty": 2.0}
    sampling |= {"seed": 1 << 63, "beams": 1}
    stop = {"stop": ["\n"], "exclude_stop": True}
    client.predict("abc", model="counter", version=2, max_steps=2, **stop, **sampling)
    client.predict("abc", model="counter")

    given, unset = counter.requests
    assert given.options.sampling == sequence_pb2.Sampling(**sampling)
    assert (list(given.options.stop), given.options.exclude_stop) == (["\n"], True)
    assert given.model.version == 2
    assert unset.options == sequence_pb2.PredictOptions()  # no sampling at all


@pytest.mark.parametrize(
    ("history", "error", "advice"),
    [
        ("", ValueError, "at least one character"),
        ([], ValueError, "at least one step"),
        ([-1, 2], ValueError, "values are float"),
        ([[1, 2]], ValueError, r"astype\(float\)"),
        (np.zeros((1, 2, 3)), ValueError, r"\[T, series\]"),
        (None, TypeError, "a history is text"),
        ([True], TypeError, "a history is text"),
    ],
)
@pytest.mark.parametrize("verb", ["predict", "predict_stream"])
def test_an_invalid_history_is_refused_before_anything_is_sent(
    client, counter, verb, history, error, advice
):
    with pytest.raises(error, match=advice):
        getattr(client, verb)(history, model="counter")
    assert not counter.requests


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_steps": 0}, ValueError),
        ({"temperature": -0.1}, ValueError),
        ({"temperature": float("nan")}, ValueError),
        ({"top_k": 0}, ValueError),
        ({"top_p": 0.0}, ValueError),
        ({"repetition_penalty": 0.9}, ValueError),
        ({"seed": -1}, ValueError),
        ({"beams": 17}, ValueError),
        ({"alternatives": 21}, ValueError),
        ({"interval": 1.0}, ValueError),
        ({"stop": "end"}, TypeError),
        ({"steps": 3}, TypeError),
    ],
)
@pytest.mark.parametrize("verb", ["predict", "predict_many", "predict_stream", "follow"])
def test_an_impossible_option_is_refused_before_anything_is_sent(
    client, counter, verb, options, error
):
    history = () if verb == "follow" else ("abc",)
    with pytest.raises(error, match=next(iter(options))):
        getattr(client, verb)(*history, model="counter", **options)
    assert not counter.requests


def test_a_history_over_the_message_limit_is_refused_before_it_is_sent(connect, target, counter):
    with connect(target, max_message_bytes=2048) as client:
        for verb in (client.predict, client.predict_stream):
            with pytest.raises(sightline.MessageTooLarge, match="send its end"):
                verb("a" * 3000, model="counter")
    assert not counter.requests


def test_bad_histories_fail_alone(client, counter):
    outcomes = client.predict_many(["a", "bad", "", *"b" * 70], model="counter")

    assert [o.text for o in (outcomes[0], outcomes[-1])] == ["b", "c"]
    assert [isinstance(o, ItemFailed) for o in outcomes] == [False, True, True, *[False] * 70]
    assert [len(request.histories) for request in counter.requests] == [63, 9]


def test_steps_arrive_as_they_are_decoded(client):
    stream = client.predict_stream("a", model="counter", max_steps=5)

    assert "".join(step.text for step in islice(stream, 3)) == "bcd"
    assert stream.model == sightline.ModelIdentity("counter", 4, "ef" * 32)
    assert "".join(step.text for step in stream) == "ef"
    assert stream.finish_reason is FinishReason.STOP
    assert stream.timing.batch_size == 2
    assert list(stream) == []


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_stream_is_opened_again_until_its_first_step(client, counter, code):
    counter.breaks += [(0, code)] * 2
    stream = client.predict_stream("a", model="counter", max_steps=2)

    assert [step.text for step in stream] == ["b", "c"]
    assert len(counter.requests) == 3


def test_a_stream_that_breaks_after_a_step_yields_its_steps_and_then_raises(client, counter):
    counter.breaks.append((1, UNAVAILABLE))
    stream = client.predict_stream("a", model="counter", max_steps=4)

    assert [step.text for step in islice(stream, 2)] == ["b", "c"]
    with pytest.raises(sightline.Unavailable):
        next(stream)
    assert list(stream) == []
    assert len(counter.requests) == 1


def test_a_stream_that_is_refused_raises_its_error(client, counter):
    counter.breaks.append((0, grpc.StatusCode.INVALID_ARGUMENT))

    with pytest.raises(sightline.InvalidInput):
        next(client.predict_stream("a", model="counter"))


def test_a_step_is_not_awaited_for_ever(client, counter):
    counter.is_silent.set()
    with pytest.raises(sightline.DeadlineExceeded, match=r"within 0\.1 s"):
        next(client.predict_stream("a", model="counter", timeout_s=0.1))
    counter.is_silent.clear()


def test_a_cancelled_stream_ends_on_the_server(client, counter):
    with client.predict_stream([0], model="counter", max_steps=NEVER) as stream:
        assert next(stream).token == 1

    assert counter.ended.acquire(timeout=20)


def test_a_stream_that_is_dropped_ends_on_the_server(target, counter):
    with sightline.Client(target) as client:
        for step in client.predict_stream([0], model="counter", max_steps=NEVER):
            assert step.token == 1
            break
        gc.collect()
        assert counter.ended.acquire(timeout=20)


def test_a_task_that_is_cancelled_ends_its_stream_on_the_server(target, counter):
    counter.is_silent.set()

    async def scenario() -> None:
        async with sightline.AsyncClient(target) as client:
            stream = client.predict_stream("a", model="counter")
            task = asyncio.ensure_future(anext(stream))
            await asyncio.to_thread(counter.was_asked.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(counter.ended.acquire, timeout=20)

    asyncio.run(scenario())


def test_each_observation_is_answered_with_the_next_prediction(client, counter):
    with client.follow(model="counter", max_steps=2) as stream:
        first = stream.observe(1.5)
        second = stream.observe([2.0, 3.0])

    assert first.values.tolist() == [[2.5], [3.5]]
    assert (first.observed_steps, second.observed_steps) == (1, 3)
    assert second.values.tolist() == [[7.5], [8.5]]
    assert first.model == second.model == sightline.ModelIdentity("counter", 4, "ef" * 32)
    opening, later = counter.requests
    assert (opening.model.name, opening.options.max_steps) == ("counter", 2)
    assert later == sequence_pb2.FollowRequest(observed={"values": {"values": [2, 3], "series": 1}})
    assert counter.ended.acquire(timeout=20)


def test_samples_that_do_not_fill_a_frame_are_answered_when_the_stream_is_finished(client, counter):
    counter.last = sequence_pb2.FollowResponse(
        steps=[sequence_pb2.Step(values=[0.5])], observed_steps=2, padded_samples=3
    )
    with client.follow(model="counter") as stream:
        assert stream.observe(1.0).padded_samples == 0
        last = stream.finish()
        assert stream.finish() is None
        with pytest.raises(sightline.Cancelled, match="open another"):
            stream.observe(3.0)

    assert (last.values.tolist(), last.observed_steps, last.padded_samples) == ([[0.5]], 2, 3)
    assert last.model.name == "counter"
    assert counter.ended.acquire(timeout=20)


def test_a_stream_without_such_samples_is_finished_without_a_prediction(client, counter):
    with client.follow(model="counter") as stream:
        assert stream.finish() is None  # nothing was observed
    with client.follow(model="counter") as stream:
        stream.observe(1.0)
        assert stream.finish() is None


def test_a_state_that_is_lost_at_the_end_is_told(client, counter):
    counter.last = ABORTED
    stream = client.follow(model="counter")
    stream.observe(1.0)
    with pytest.raises(sightline.Unavailable, match="as the script says"):
        stream.finish()


def test_lost_state_raises_unavailable_and_ends_the_stream(client, counter):
    counter.breaks.append((1, ABORTED))
    with client.follow(model="counter") as stream:
        stream.observe(1.0)
        with pytest.raises(sightline.Unavailable, match="send the history again") as lost:
            stream.observe(2.0)
        assert lost.value.code is ABORTED
        with pytest.raises(sightline.Cancelled, match="open another"):
            stream.observe(3.0)


@pytest.mark.parametrize("code", [ABORTED, UNAVAILABLE])
def test_lost_state_is_restored_when_the_caller_asked_for_it(client, counter, code):
    counter.breaks += [(2, code), (0, code)]
    with client.follow(model="counter", resume=True) as stream:
        predictions = [stream.observe(float(n)) for n in (1, 2, 3, 4)]

    assert [p.values.item() for p in predictions] == [2, 4, 7, 11]  # as if nothing had happened
    assert [p.observed_steps for p in predictions] == [1, 2, 3, 4]
    assert [list(r.observed.values.values) for r in counter.requests] == [
        [1],
        [2],
        [3],
        [1, 2, 3],
        [4],
    ]


def test_the_remembered_history_is_limited(client, counter):
    counter.breaks.append((3, ABORTED))
    with client.follow(model="counter", resume=True, remember=2) as stream:
        predictions = [stream.observe(float(n)) for n in (1, 2, 3, 4, 5)]

    assert list(counter.requests[4].observed.values.values) == [2, 3, 4]  # the 1 is forgotten
    assert [p.observed_steps for p in predictions] == [1, 2, 3, 4, 5]
    assert predictions[-1].values.item() == 1 + 2 + 3 + 4 + 5


def test_no_state_can_be_lost_before_the_first_observation(client, counter):
    counter.breaks += [(0, UNAVAILABLE)] * 2
    with client.follow(model="counter") as stream:
        assert stream.observe(1.0).values.item() == 2


def test_a_server_that_stays_away_ends_the_attempts(client, counter):
    counter.breaks += [(1, ABORTED), *[(0, UNAVAILABLE)] * 4]
    with client.follow(model="counter", resume=True) as stream:
        stream.observe(1.0)
        with pytest.raises(sightline.Unavailable):
            stream.observe(2.0)
        assert stream.observe(2.0).values.item() == 4  # it is back, and nothing was forgotten


def test_an_observation_that_is_refused_is_forgotten(client):
    with client.follow(model="counter", resume=True) as stream:
        stream.observe(1.0)
        with pytest.raises(sightline.InvalidInput, match="not finite"):
            stream.observe(float("nan"))
        assert stream.observe(2.0).values.item() == 4


def test_a_stream_observes_one_kind_of_thing(client):
    with client.follow(model="counter", resume=True) as stream:
        stream.observe(1.0)
        with pytest.raises(ValueError, match="one kind: values first, now text"):
            stream.observe("a")


def test_an_observation_is_not_awaited_for_ever(client, counter):
    counter.is_silent.set()
    with client.follow(model="counter", timeout_s=0.1) as stream:
        with pytest.raises(sightline.DeadlineExceeded):
            stream.observe(1.0)
        counter.is_silent.clear()


def test_a_stream_must_remember_something(client):
    with pytest.raises(ValueError, match="1 step or more"):
        client.follow(model="counter", remember=0)
