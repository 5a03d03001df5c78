"""``SequenceService.Follow``: observations in, what comes next out."""

import os
import queue
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.v1 import models_pb2
from sightline.v1 import sequence_pb2 as pb
from tests.support.requests import fails_with, history, predict_options
from tests.support.running import Server, running_server
from tests.support.sequences import CONTEXT, continue_greedily, forecast, score_frames
from tests.support.stubs import Stubs


class Follower:
    """A stream whose messages are sent one by one."""

    def __init__(self, stubs: Stubs, model: str, **options: object) -> None:
        self._model, self._options = model, options
        self._messages: queue.SimpleQueue[pb.FollowRequest | None] = queue.SimpleQueue()
        self._is_first = True
        self.call = stubs.sequences.Follow(iter(self._messages.get, None))

    def observe(self, content: str | list[float] | pb.History) -> pb.FollowResponse:
        request = pb.FollowRequest(observed=history(content))
        if self._is_first:
            request.model.CopyFrom(models_pb2.ModelSelector(name=self._model))
            request.options.CopyFrom(predict_options(**self._options))
        self._is_first = False
        self._messages.put(request)
        return next(self.call)

    def end(self) -> None:
        assert self.responses_to_the_end() == []

    def responses_to_the_end(self) -> list[pb.FollowResponse]:
        self._messages.put(None)
        return list(self.call)


def texts(response: pb.FollowResponse) -> str:
    return "".join(step.text for step in response.steps)


def live(server: Server, model: str) -> float:
    return server.metric(f'sightline_live_sequences{{model="{model}"}}')


@pytest.mark.parametrize("model", ["lstm", "transformer", "autoregressive"])
def test_each_message_is_answered_from_all_observations(
    sequence_stubs: Stubs, sequence_models: Path, model: str
) -> None:
    """And what was looked ahead at is not."""
    follower, seen = Follower(sequence_stubs, model, max_steps=5), ""
    for part in ("t", "he", " sun shines on all", " ", "of us"):
        seen += part
        response = follower.observe(part)
        assert response.observed_steps == len(seen)
        assert texts(response) == continue_greedily(sequence_models / model / "1", seen, 5)
    follower.end()


def test_values_are_followed(sequence_stubs: Stubs, sequence_models: Path) -> None:
    values = np.random.default_rng(0).normal(20, 9, (12, 2)).astype(np.float32)
    follower = Follower(sequence_stubs, "gru")
    responses = [follower.observe(step.tolist()) for step in values]
    for count, response in enumerate(responses, 1):
        expected = forecast(sequence_models / "gru" / "1", values[:count], 1)
        np.testing.assert_allclose([each.values for each in response.steps], expected, rtol=1e-4)
    assert responses[-1].HasField("model") is False
    follower.end()


def samples(values: list[float]) -> pb.History:
    return pb.History(values=pb.Values(values=values))


@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(1, 23), min_size=1, max_size=6))
def test_frames_are_scored_however_the_samples_arrive(
    sequence_stubs: Stubs, lengths: list[int]
) -> None:
    signal_ = np.sin(np.arange(sum(lengths), dtype=np.float32))
    scores = score_frames(signal_)
    follower, seen = Follower(sequence_stubs, "frames"), 0
    for length in lengths:
        response = follower.observe(samples(signal_[seen : seen + length].tolist()))
        frames_before, seen = seen // 4, seen + length
        assert response.observed_steps == seen // 4
        if seen // 4 > frames_before:
            (step,) = response.steps
            assert step.values[0] == pytest.approx(scores[seen // 4 - 1], rel=1e-4, abs=1e-4)
        else:
            assert not response.steps
    last = follower.responses_to_the_end()
    if not (rest := seen % 4):
        assert last == []
        return
    (response,) = last
    assert (response.observed_steps, response.padded_samples) == (seen // 4 + 1, 4 - rest)
    whole = score_frames(np.pad(signal_, (0, 4 - rest)))
    assert response.steps[0].values[0] == pytest.approx(whole[-1], rel=1e-4, abs=1e-4)


def test_an_ended_stream_frees_all_its_resources(
    sequence_server: Server, sequence_stubs: Stubs
) -> None:
    followers = [Follower(sequence_stubs, "lstm") for _ in range(4)]
    for each in followers:
        each.observe("the sun")
    sequence_server.wait_until(lambda it: live(it, "lstm") == 4, timeout_s=20)
    followers[0].end()
    followers[1].end()
    followers[2].call.cancel()
    followers[3].call.cancel()
    sequence_server.assert_eventually(lambda it: live(it, "lstm") == 0, timeout_s=20)
    sequence_server.assert_eventually(
        lambda it: it.metric("sightline_slots_in_use") == 0, timeout_s=20
    )


def fails(follower: Follower, content: str, code: grpc.StatusCode, text: str) -> None:
    with fails_with(code, text):
        follower.observe(content)


def test_an_invalid_observation_is_refused(sequence_stubs: Stubs) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    fails(Follower(sequence_stubs, "lstm"), "A", invalid, "not in the model's vocabulary")
    fails(Follower(sequence_stubs, "lstm"), "", invalid, "history is empty")
    fails(Follower(sequence_stubs, "lstm", beams=2), "a", invalid, "has one beam")
    fails(Follower(sequence_stubs, "frames", max_steps=2), "a", invalid, "ask for 1")
    full = Follower(sequence_stubs, "transformer")
    assert full.observe("a" * CONTEXT).observed_steps == CONTEXT
    fails(full, "a", invalid, f"{CONTEXT + 1} steps are observed")
    again = Follower(sequence_stubs, "lstm")
    again.observe("a")
    again._is_first = True
    fails(again, "a", invalid, "first message only")


@pytest.fixture
def own_server(sequence_models: Path) -> Iterator[Server]:
    """One that may be harmed, and is impatient."""
    impatient = {
        "SIGHTLINE_DECODING__FOLLOW_IDLE_S": "1",
        "SIGHTLINE_DECODING__MAX_LIVE_SEQUENCES": "2",
    }
    with running_server(sequence_models, environment=impatient) as running:
        running.wait_until_ready()
        yield running


def test_a_silent_stream_lives_as_long_as_the_settings_say(sequence_models: Path) -> None:
    """However often its client pings: by default the third ping ends a stream, here after 5 s."""
    fast = [("grpc.keepalive_time_ms", 1_000), ("grpc.http2.max_pings_without_data", 0)]
    environment = {"SIGHTLINE_DECODING__FOLLOW_IDLE_S": "7"}
    with (
        running_server(sequence_models, environment=environment) as running,
        grpc.insecure_channel(running.target, fast) as channel,
    ):
        running.wait_until_ready()
        silent = Follower(Stubs(channel), "lstm")
        silent.observe("the sun")
        began_s = time.monotonic()
        with fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, "no observation came for 7 s"):
            next(silent.call)
        assert 6.5 < time.monotonic() - began_s < 12


def test_a_stream_ends_with_its_worker_or_when_nothing_is_observed(own_server: Server) -> None:
    with grpc.insecure_channel(own_server.target) as channel:
        stubs = Stubs(channel)
        idle = Follower(stubs, "lstm")
        idle.observe("the sun")
        with fails_with(grpc.StatusCode.DEADLINE_EXCEEDED):
            next(idle.call)
        own_server.wait_until(lambda it: live(it, "lstm") == 0, timeout_s=20)

        lost = Follower(stubs, "lstm")
        lost.observe("the sun")
        (worker,) = own_server.pids("worker")
        os.kill(worker, signal.SIGKILL)
        fails(lost, " shines", grpc.StatusCode.ABORTED, "send the history again")
        again = Follower(stubs, "lstm")
        assert again.observe("the sun shines").observed_steps == 14
        again.end()
