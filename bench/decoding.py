"""Steps a second of the decoding engine: ``python -m bench.decoding``.

It compares sixteen continuations at once with one at a time, and, for an LSTM, with clients of the
baseline that ask for each step. Then it measures the time to the first token of a new sequence
beside fifteen others. All processes of a server share one core; for the time to the first token
they have two.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from bench.cases import body_of
from bench.ceilings import time_loop
from bench.decoding_models import gather_models
from bench.decoding_report import BENCH_LSTM, MODELS, Row, table, table_of_first_tokens
from bench.figures import spread
from bench.first_token import PREDICT, Ask, FirstToken, measure_first_token
from bench.load import drive
from bench.models import make_artifacts, models_dir
from bench.processes import BenchError, free_port, pinned, running
from bench.report import wide_console
from bench.results import Cell, Photo
from bench.servers import Layout, await_readyz, baseline, service_command
from service.artifact.manifest import read_manifest

CLASSIFY = "/sightline.v1.ClassificationService/Classify"
HISTORY, STEPS = 16, 200
IN_FLIGHT = 16
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def ask_for(model: str, folder: Path) -> Ask:
    """A request to continue a short history."""
    section = read_manifest(folder / model / "1")[0].sequence
    assert section is not None
    history = tuple(place % len(section.vocabulary) for place in range(HISTORY))
    return Ask(model, history, STEPS)


def send(
    layout: Layout, address: str, method: str, body: Path, in_flight: int, calls: int
) -> float:
    """Seconds that ``calls`` calls take."""
    cores = layout.load_cores
    report = drive(address, method, body, in_flight=in_flight, requests=calls, cores=cores)
    return report.elapsed_s


def calls_a_second(load: Callable[[int], float], in_flight: int, seconds: float) -> float:
    """Measure for about ``seconds``; ``load`` sends a number of calls and returns their seconds."""
    calls, elapsed_s = in_flight, load(in_flight)
    while elapsed_s < seconds:
        calls = max(2 * calls, round(1.2 * seconds * calls / elapsed_s))
        calls += -calls % in_flight
        elapsed_s = load(calls)
    return calls / elapsed_s


def stepped_by_clients(layout: Layout, seconds: float, folder: Path) -> float:
    """Steps a second of the baseline's LSTM, each asked for by one of sixteen clients."""
    cell = Cell(model="lstm", photo=Photo.RAW, items=1, messages=1, in_flight=IN_FLIGHT)
    body = folder / "step.bin"
    body.write_bytes(body_of(cell))
    with baseline(layout, ("lstm",)) as server:
        load = partial(send, layout, server.address, CLASSIFY, body, IN_FLIGHT)
        return calls_a_second(load, IN_FLIGHT, seconds)


def bare_steps(artifact: Path, seconds: float, cores: str) -> float:
    """Steps a second of the model alone, at its best batch size."""
    command = pinned(cores, [sys.executable, "-m", "bench.decoding", "--bare", str(artifact)])
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return float(done.stdout)


def measure_bare(artifact: Path, seconds: float) -> float:
    """In the pinned process: runs of one step each, on one thread."""
    import numpy as np

    from service.devices import Device
    from service.worker.decoding.state_cache import StateCache
    from service.worker.session import ModelSession, SessionOptions

    manifest, _ = read_manifest(artifact)
    session = ModelSession(artifact, manifest, SessionOptions(Device("cpu")))
    state = StateCache(manifest, max(BATCH_SIZES))
    positions = cycle(range(HISTORY, HISTORY + STEPS))
    tokens = np.zeros((max(BATCH_SIZES), 1), np.int64)

    def run(size: int) -> None:
        """One step at a position that the server's sequences have, too."""
        state.position[:] = next(positions)
        state.reserve(1)
        session.run([tokens[:size], *state.feeds(0, size)], size)

    sizes = [each for each in BATCH_SIZES if each <= session.max_batch_size]
    return max(size / time_loop(partial(run, size), seconds)[0] for size in sizes)


class Server(NamedTuple):
    """Where the models are, and the ports for them."""

    layout: Layout
    repository: Path
    port: int
    http_port: int

    @contextmanager
    def serving(self) -> Iterator[str]:
        """A server that is ready; its address."""
        command = service_command(self.layout, self.port, self.http_port)
        with running(self.layout.server_cores, command) as root:
            await_readyz(self.http_port, root)
            yield f"127.0.0.1:{self.port}"


def measure(models: Path, rounds: int, seconds: float) -> tuple[list[Row], list[FirstToken]]:
    """All rows, and the times to the first token.

    Each round measures everything once, so that all figures share the machine's slow moments.
    """
    classifiers = models_dir(("lstm",))
    make_artifacts(classifiers, ("lstm",))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = folder / "models"
        gather_models(models, repository)
        server = Server(Layout(repository), repository, free_port(), free_port())
        stepped: list[float] = []
        made: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            stepped.append(stepped_by_clients(Layout(classifiers), seconds, folder))
            for key, rate in measure_rates(server, folder, seconds).items():
                made.setdefault(key, []).append(rate)
        rows = [
            Row(
                model,
                spread(made[model, 1]),
                spread(made[model, IN_FLIGHT]),
                spread(stepped) if model == BENCH_LSTM else None,
                bare_steps(repository / model / "1", seconds, server.layout.server_cores),
            )
            for model in MODELS
        ]
        return rows, measure_first_tokens(server, folder, seconds)


def measure_rates(server: Server, folder: Path, seconds: float) -> dict[tuple[str, int], float]:
    """Steps a second of each model, one and sixteen in flight."""
    rates: dict[tuple[str, int], float] = {}
    with server.serving() as address:
        for model in MODELS:
            body = folder / f"{model}.bin"
            body.write_bytes(ask_for(model, server.repository).framed())
            for in_flight in (1, IN_FLIGHT):
                load = partial(send, server.layout, address, PREDICT, body, in_flight)
                rates[model, in_flight] = STEPS * calls_a_second(load, in_flight, seconds)
    return rates


def measure_first_tokens(server: Server, folder: Path, seconds: float) -> list[FirstToken]:
    """For each model; the server has all cores, since on one its processes wait for each other."""
    cores = (server.layout.server_cores, server.layout.load_cores)
    layout = replace(server.layout, server_cores=",".join(cores))
    with server._replace(layout=layout).serving() as address:
        return [
            measure_first_token(
                ask_for(model, server.repository),
                address,
                server.repository / model / "1",
                folder,
                seconds=2 * seconds,
                cores=cores,
            )
            for model in MODELS
        ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.decoding", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="the trained models")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    parser.add_argument("--output", type=Path, default=Path("bench/results/decoding.json"))
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(measure_bare(arguments.bare, arguments.seconds))
        return
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("the bench needs two cores: one for the server, one for the load")
    try:
        rows, first_tokens = measure(arguments.models, arguments.rounds, arguments.seconds)
    except BenchError as err:
        raise SystemExit(f"bench: {err}") from err
    console: Console = wide_console()
    console.print(table(rows))
    console.print(table_of_first_tokens(first_tokens))
    kept = {
        "steps": [{**row._asdict(), "ratio": row.ratio} for row in rows],
        "first_token": [{**row._asdict(), "allowed_s": row.allowed_s} for row in first_tokens],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(kept, indent=1) + "\n")
    console.print(f"kept in {arguments.output}")


if __name__ == "__main__":
    main()
