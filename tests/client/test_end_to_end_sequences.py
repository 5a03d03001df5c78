"""Text and numbers through both clients, the command line and the real server."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

import sightline
from sightline import FinishReason, ItemFailed
from tests.support.running import Server, running_server
from tests.support.sequences import continue_greedily, forecast, write_sequence_artifact

TEXT = "the day is long, and so "
SERIES = np.array([[0.0, 10], [2, 20], [4, 30], [6, 20]], np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("models")
    for architecture in ("lstm", "gru"):
        write_sequence_artifact(repository, architecture)
    return repository


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with running_server(models) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def target(server: Server) -> str:
    server.wait_until_ready()  # a test before may have killed a worker
    return server.target


@pytest.fixture(scope="module")
def continued(models: Path) -> str:
    return continue_greedily(models / "lstm" / "1", TEXT, 20)


def test_a_text_is_continued_the_same_at_once_and_step_by_step(client, continued):
    whole = client.predict(TEXT, model="lstm", max_steps=20)
    stream = client.predict_stream(TEXT, model="lstm", max_steps=20)
    steps = list(stream)

    assert whole.text == "".join(step.text for step in steps) == continued
    assert whole.tokens == tuple(step.token for step in steps)
    assert whole.finish_reason is stream.finish_reason is FinishReason.STEPS
    assert whole.model == stream.model
    assert stream.timing.total_s > 0


def test_a_seed_makes_what_is_sampled_repeatable(client):
    options = {"model": "lstm", "max_steps": 20, "temperature": 1.0, "top_k": 20}
    first = client.predict(TEXT, seed=7, **options)

    assert client.predict(TEXT, seed=7, **options).text == first.text
    assert client.predict(TEXT, seed=8, **options).text != first.text


def test_a_stop_string_ends_it(client, continued):
    stop = continued[4:6]
    answer = client.predict(TEXT, model="lstm", max_steps=20, stop=[stop])

    assert answer.finish_reason is FinishReason.STOP
    assert continued.startswith(answer.text.removesuffix(stop))
    without = client.predict(TEXT, model="lstm", max_steps=20, stop=[stop], exclude_stop=True)
    assert (without.text + stop, without.finish_reason) == (answer.text, FinishReason.STOP)


def test_alternatives_are_the_likeliest_first(client):
    (step,) = client.predict(TEXT, model="lstm", alternatives=3).steps

    assert step.alternatives[0].token == step.token
    likely = [each.log_probability for each in step.alternatives]
    assert likely == sorted(likely, reverse=True)
    assert likely[0] == pytest.approx(step.log_probability)


def test_numbers_are_continued_with_their_interval(client, models):
    answer = client.predict(SERIES, model="gru", max_steps=5)

    np.testing.assert_allclose(
        answer.values, forecast(models / "gru" / "1", SERIES, 5), rtol=1e-3, atol=1e-3
    )
    assert answer.values.shape == answer.lower.shape == answer.upper.shape == (5, 2)
    assert (answer.lower < answer.upper).all()


def test_bad_histories_fail_alone(client, continued):
    outcomes = client.predict_many([TEXT, "привет", [2.5], TEXT], model="lstm", max_steps=20)

    assert [isinstance(each, ItemFailed) for each in outcomes] == [False, True, True, False]
    assert outcomes[0].text == outcomes[3].text == continued


def test_followed_predictions_equal_those_for_the_whole_history(client):
    with client.follow(model="gru", max_steps=2) as stream:
        for start, end in ((0, 1), (1, 2), (2, 4)):
            prediction = stream.observe(SERIES[start:end])
            asked = client.predict(SERIES[:end], model="gru", max_steps=2)
            np.testing.assert_allclose(prediction.values, asked.values, rtol=1e-3, atol=1e-3)
            assert prediction.observed_steps == end


def kill_workers(server: Server) -> None:
    for pid in server.pids("worker"):
        os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_goes_unnoticed_when_the_stream_resumes(connect, server, target):
    patient = sightline.Retry(max_attempts=200, initial_backoff_s=0.1, max_backoff_s=0.2)
    with connect(target, retries=patient) as client:
        with client.follow(model="lstm", max_steps=5) as stream:
            undisturbed = [stream.observe(letter).text for letter in TEXT]
        with client.follow(model="lstm", max_steps=5, resume=True) as stream:
            predictions = [stream.observe(letter) for letter in TEXT[:10]]
            kill_workers(server)
            predictions += [stream.observe(letter) for letter in TEXT[10:]]

    assert [each.text for each in predictions] == undisturbed
    assert [each.observed_steps for each in predictions] == list(range(1, len(TEXT) + 1))


def test_a_killed_worker_is_an_error_when_the_stream_does_not_resume(client, server):
    with client.follow(model="lstm") as stream:
        stream.observe(TEXT)
        kill_workers(server)
        with pytest.raises(sightline.Unavailable, match="send the history again") as lost:
            stream.observe("it")
    assert lost.value.code is grpc.StatusCode.ABORTED


def test_the_command_line_continues_and_follows(run, target, continued):
    told = run("predict", TEXT, "--model", "lstm", "--max-steps", 20, "--target", target)
    ahead = ["--model", "gru", "--max-steps", 2, "--target", target, "--json"]
    followed = run("follow", *ahead, input="0,10\n2,20\n")

    assert told.stdout == f"{TEXT}{continued}\n"
    first, second = map(json.loads, followed.stdout.splitlines())
    assert (first["observed_steps"], second["observed_steps"]) == (1, 2)
    assert len(second["steps"][1]["values"]) == 2
