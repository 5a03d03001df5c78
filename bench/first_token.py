"""Time to the first token of a new sequence while fifteen others are being continued.

The promise is less than three steps of the others and the prefill of its own history. The clock is
in a client, so the cost of an empty call is measured beside it.
"""

import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.ceilings import time_loop
from bench.figures import quantile
from bench.load import LoadReport, drive
from bench.processes import BenchError, pinned
from service.artifact.manifest import read_manifest
from sightline.v1 import models_pb2
from sightline.v1 import sequence_pb2 as pb
from sightline.v1 import sequence_pb2_grpc as pb_grpc

OTHERS = 15
PREDICT = "/sightline.v1.SequenceService/Predict"
PAUSE_S = 0.02
"""Between new sequences, so that each of them is the only new one."""
STEPS_ALLOWED = 3


class FirstToken(NamedTuple):
    """The figures of one model, in seconds."""

    model: str
    median_s: float
    p90_s: float
    empty_call_s: float  # median
    step_s: float  # of all sixteen
    prefill_s: float  # the bare run of a new sequence's history

    @property
    def allowed_s(self) -> float:
        """The longest time that the promise allows."""
        return STEPS_ALLOWED * self.step_s + self.prefill_s

    @property
    def waited_s(self) -> float:
        """The time beyond the cost of an empty call."""
        return self.median_s - self.empty_call_s


class Ask(NamedTuple):
    """The request of every caller: a history, which depends on the model, and the steps to make."""

    model: str
    history: tuple[int, ...]
    steps: int

    def message(self, steps: int) -> tuple[models_pb2.ModelSelector, pb.History, pb.PredictOptions]:
        """The parts that all requests have in common."""
        return (
            models_pb2.ModelSelector(name=self.model),
            pb.History(tokens=pb.Tokens(ids=self.history)),
            pb.PredictOptions(max_steps=steps),
        )

    def framed(self) -> bytes:
        """A call of `Predict`, as gRPC puts it on the wire."""
        model, history, options = self.message(self.steps)
        request = pb.PredictRequest(model=model, histories=[history], options=options)
        content = request.SerializeToString()
        return struct.pack(">BI", 0, len(content)) + content


def measure_first_token(
    ask: Ask, address: str, artifact: Path, folder: Path, *, seconds: float, cores: tuple[str, str]
) -> FirstToken:
    """Start new sequences, one at a time, for about ``seconds`` beside a load that lasts longer.

    Args:
        ask: the others' requests; a new sequence asks the same, but for one step only.
        address: ``HOST:PORT`` of a server without other callers.
        artifact: of the model.
        folder: for the load generator's files.
        seconds: how long to measure.
        cores: of the server, and of the load.
    """
    body = folder / f"{ask.model}-first.bin"
    body.write_bytes(ask.framed())
    reports: list[LoadReport] = []

    def load(requests: int) -> float:
        reports.append(
            drive(address, PREDICT, body, in_flight=OTHERS, requests=requests, cores=cores[1])
        )
        return reports[-1].elapsed_s

    rate = 4 * OTHERS / load(4 * OTHERS)
    requests = max(4, round(1.5 * seconds * rate / OTHERS)) * OTHERS
    background = threading.Thread(target=load, args=(requests,))
    with grpc.insecure_channel(address) as channel:
        first_token, empty = _first_token(channel, ask), _empty_call(channel)
        first_token()
        background.start()
        time.sleep(0.2 * seconds)  # until all fifteen are under way
        waits, empties, end = list[float](), list[float](), time.perf_counter() + seconds
        while time.perf_counter() < end and background.is_alive():
            waits.append(first_token())
            time.sleep(PAUSE_S)
            empties.append(empty())
            time.sleep(PAUSE_S)
        background.join()
    if len(reports) < 2 or not waits:
        raise BenchError(f"{ask.model} could not be loaded with {OTHERS} continuations")
    step_s = OTHERS * reports[-1].elapsed_s / (requests * ask.steps)
    prefill_s = _bare_prefill(artifact, len(ask.history), cores[0])
    medians = (quantile(each, 0.5) for each in (waits, empties))
    wait_s, empty_s = medians
    return FirstToken(ask.model, wait_s, quantile(waits, 0.9), empty_s, step_s, prefill_s)


def _first_token(channel: grpc.Channel, ask: Ask) -> Callable[[], float]:
    """Seconds to the first message of a stream of one step."""
    stub = pb_grpc.SequenceServiceStub(channel)
    model, history, options = ask.message(1)
    request = pb.PredictStreamRequest(model=model, history=history, options=options)

    def wait_s() -> float:
        started = time.perf_counter()
        stream = stub.PredictStream(request, timeout=30)
        next(iter(stream))
        waited_s = time.perf_counter() - started
        for _ in stream:
            pass
        return waited_s

    return wait_s


def _empty_call(channel: grpc.Channel) -> Callable[[], float]:
    """Seconds of a call that no model answers."""
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stubs name no method

    def wait_s() -> float:
        started = time.perf_counter()
        request = health_pb2.HealthCheckRequest(service="")
        next(iter(stub.Watch(request, timeout=30)))
        return time.perf_counter() - started

    return wait_s


def _bare_prefill(artifact: Path, history: int, cores: str) -> float:
    command = [sys.executable, "-m", "bench.first_token", str(artifact), str(history)]
    done = subprocess.run(pinned(cores, command), capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout))


def prefill_alone(artifact: Path, history: int) -> float:
    """In the pinned process: seconds of the runs that read a history, on one thread."""
    import numpy as np

    from service.devices import Device
    from service.worker.decoding.prefill import PrefillSizes
    from service.worker.decoding.state_cache import StateCache
    from service.worker.session import ModelSession, SessionOptions

    manifest, _ = read_manifest(artifact)
    session = ModelSession(artifact, manifest, SessionOptions(Device("cpu")))
    cuts, sizes, read = PrefillSizes(manifest), list[int](), 0
    while read < history:
        sizes.append(cuts.next_size(history - read, read))
        read += sizes[-1]
    state = StateCache(manifest, 1)
    state.reserve(max(sizes))

    def run() -> None:
        for size in sizes:
            session.run([np.zeros((1, size), np.int64), *state.feeds(0, 1)], 1)

    return time_loop(run, 0.5)[0]


if __name__ == "__main__":
    print(json.dumps(prefill_alone(Path(sys.argv[1]), int(sys.argv[2]))))
