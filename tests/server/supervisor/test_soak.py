"""All kinds of callers at once, patient and not, while processes die."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import grpc
import numpy as np
import pytest

import sightline
from tests.support.artifacts import write_artifact
from tests.support.requests import classify
from tests.support.running import running_server
from tests.support.sequences import ARCHITECTURES, write_sequence_artifact
from tests.support.stubs import Stubs

SECONDS = 60
CALLERS = 12
PATIENT = sightline.Retry(max_attempts=40, initial_backoff_s=0.05, max_backoff_s=1)
ROW = np.zeros((4, 4), np.uint8)
IMPATIENCE = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
)
"""What a caller may be told who does not wait, or does not ask again."""


class Caller:
    """Asks in every way there is, one after the other in an order of its own."""

    def __init__(self, target: str, sequence_model: str, seed: int) -> None:
        self.client = sightline.Client(target, retries=PATIENT, default_timeout_s=60)
        self.channel = grpc.insecure_channel(target)
        self.stubs = Stubs(self.channel)
        self.model = sequence_model
        self.random = random.Random(seed)
        self.answered = 0
        self.failures: list[str] = []

    def call_until(self, stop: threading.Event) -> None:
        ways: list[Callable[[], None]] = [
            *(self.one, self.many, self.stream, self.continuation, self.observations),
            *(self.leave_call, self.leave_stream, self.leave_steps, self.hurry, self.bad_input),
        ]
        with self.client, self.channel:
            while not stop.is_set():
                way = self.random.choice(ways)
                try:
                    way()
                    self.answered += 1
                except Exception as err:
                    self.failures.append(f"{way.__name__}: {type(err).__name__}: {err}")

    def one(self) -> None:
        assert self.client.classify(ROW, model="tiny").labels

    def many(self) -> None:
        outcomes = self.client.classify_many([ROW] * 40, model="tiny")
        assert not [each for each in outcomes if isinstance(each, sightline.ItemFailed)]

    def stream(self) -> None:
        outcomes = list(self.client.classify_stream([ROW] * 60, model="tiny", batch_size=4))
        assert len(outcomes) == 60
        assert not [each for each in outcomes if isinstance(each, sightline.ItemFailed)]

    def continuation(self) -> None:
        answer = self.client.predict("ab", model=self.model, max_steps=30)
        assert len(answer.steps) == 30

    def observations(self) -> None:
        with self.client.follow(model=self.model, resume=True, max_steps=2) as stream:
            for count in range(1, 8):
                assert stream.observe("ab").observed_steps == 2 * count

    def leave_call(self) -> None:
        call = self.stubs.classification.Classify.future(classify(model="slow"))
        time.sleep(self.random.uniform(0, 0.02))
        call.cancel()

    def leave_stream(self) -> None:
        stream = self.client.classify_stream([ROW] * 100, model="tiny", batch_size=1)
        for _ in islice(stream, self.random.randrange(5)):
            pass

    def leave_steps(self) -> None:
        count = 0
        try:
            with self.client.predict_stream("ab", model=self.model, max_steps=500) as stream:
                for _ in islice(stream, self.random.randrange(10)):
                    count += 1
        except sightline.Unavailable:
            if not count:  # else its frontend died, and what was begun cannot be begun again
                raise

    def hurry(self) -> None:
        try:
            self.stubs.classification.Classify(classify(), timeout=self.random.uniform(0, 0.03))
        except grpc.RpcError as err:
            assert err.code() in IMPATIENCE, err

    def bad_input(self) -> None:
        with pytest.raises(sightline.InvalidInput):
            self.client.classify(b"this is no photo", model="tiny")


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [(), ("worker",), ("worker", "frontend")], ids=str)
def test_no_request_is_lost_and_no_resource_is_leaked(
    tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    write_artifact(tmp_path, "tiny")
    write_artifact(tmp_path, "slow", slow=True)
    write_sequence_artifact(tmp_path, ARCHITECTURES[0])
    (model,) = {each.name for each in tmp_path.iterdir()} - {"tiny", "slow"}
    draw, stop = random.Random(0), threading.Event()
    with running_server(tmp_path, "--workers", "2", "--frontends", "2") as server:
        server.wait_until_ready()
        callers = [Caller(server.target, model, seed) for seed in range(CALLERS)]
        threads = [threading.Thread(target=each.call_until, args=(stop,)) for each in callers]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            time.sleep(draw.uniform(4, 9))
            for kind in kinds:
                if pids := server.pids(kind):
                    os.kill(draw.choice(pids), signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join()
        assert [failure for each in callers for failure in each.failures] == []
        assert all(each.answered for each in callers)
        server.assert_eventually(lambda it: it.metric("sightline_slots_in_use") == 0)
        server.assert_eventually(lambda it: it.metric("sightline_slot_bytes_in_use") == 0)
        assert server.stop() == 0
