"""Steps a second of the decoding engine: ``python -m bench.decoding``.

Sixteen continuations at once beside one at a time; and, of an LSTM, beside clients of the baseline
that ask for each step. All figures are of one core for all processes of a server.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.cases import body_of
from bench.ceilings import time_loop
from bench.figures import Spread, spread
from bench.load import drive
from bench.models import MODELS_DIR, make_artifacts, models_dir
from bench.processes import BenchError, free_port, pinned, running
from bench.report import wide_console
from bench.results import Cell, Photo
from bench.servers import Layout, await_readyz, baseline, service_command
from service.manifest import MANIFEST_FILE, read_manifest
from sightline.v1 import models_pb2
from sightline.v1 import sequence_pb2 as pb

PREDICT = "/sightline.v1.SequenceService/Predict"
CLASSIFY = "/sightline.v1.ClassificationService/Classify"
TRAINED = ("shakespeare-transformer", "shakespeare-lstm")
BENCH_LSTM = "lstm-128"
HISTORY, STEPS = 16, 200
IN_FLIGHT = 16
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
AT_LEAST = {"shakespeare-transformer": 4.0, "shakespeare-lstm": 6.0, BENCH_LSTM: 20.0}
"""Sixteen at once over one at a time; of the bench's LSTM: over the baseline."""


class Row(NamedTuple):
    """A line of the table; steps a second."""

    model: str
    one: Spread
    sixteen: Spread
    stepped: Spread | None  # by clients of the baseline
    ceiling: float  # bare ONNX Runtime, at its best batch size

    @property
    def ratio(self) -> float:
        """What must be at least `AT_LEAST`."""
        return self.sixteen.median / (self.stepped or self.one).median


def export_lstm(folder: Path) -> Path:
    """An LSTM of 128 units over 128 tokens, once; the weights are random."""
    artifact = folder / BENCH_LSTM / "1"
    if not (artifact / MANIFEST_FILE).exists():
        import torch

        from export.models import build
        from export.network import ArtifactWishes, Network, Origin
        from export.resolve import export_network
        from service.manifest import SequenceSection, Task

        torch.manual_seed(0)
        vocabulary = tuple(chr(code) for code in range(0x0100, 0x0180))
        text = folder / "golden.txt"
        folder.mkdir(parents=True, exist_ok=True)
        text.write_text("".join(vocabulary))
        module = build("lstm", hidden_size=128, vocabulary_size=len(vocabulary))
        section = SequenceSection(kind="tokens", vocabulary=vocabulary)
        origin = Origin(source="bench.decoding")
        network = Network(module.eval(), (), (), "lstm", origin, Task.SEQUENCE, section)
        export_network(network, ArtifactWishes(BENCH_LSTM, golden=(text,)), folder)
    return artifact.parent


def request_body(model: str, folder: Path) -> bytes:
    """A history of tokens, as gRPC puts it on the wire."""
    section = read_manifest(folder / model / "1")[0].sequence
    assert section is not None
    ids = [place % len(section.vocabulary) for place in range(HISTORY)]
    request = pb.PredictRequest(
        model=models_pb2.ModelSelector(name=model),
        histories=[pb.History(tokens=pb.Tokens(ids=ids))],
        options=pb.PredictOptions(max_steps=STEPS),
    )
    message = request.SerializeToString()
    return struct.pack(">BI", 0, len(message)) + message


def send(
    layout: Layout, address: str, method: str, body: Path, in_flight: int, calls: int
) -> float:
    """Seconds that so many calls take."""
    cores = layout.load_cores
    report = drive(address, method, body, in_flight=in_flight, requests=calls, cores=cores)
    return report.elapsed_s


def calls_a_second(load: Callable[[int], float], in_flight: int, seconds: float) -> float:
    """Measure for about that long; ``load`` sends so many calls and says how long they took."""
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

    from service.decoding_state import StateRows
    from service.devices import Device
    from service.session import ModelSession, SessionOptions

    manifest, _ = read_manifest(artifact)
    session = ModelSession(artifact, manifest, SessionOptions(Device("cpu")))
    state = StateRows(manifest, max(BATCH_SIZES))
    positions = cycle(range(HISTORY, HISTORY + STEPS))
    tokens = np.zeros((max(BATCH_SIZES), 1), np.int64)

    def run(size: int) -> None:
        """A step as long after the beginning of a sequence as those of the server are."""
        state.position[:] = next(positions)
        state.reserve(1)
        session.run([tokens[:size], *state.feeds(0, size)], size)

    sizes = [each for each in BATCH_SIZES if each <= session.max_batch_size]
    return max(size / time_loop(partial(run, size), seconds)[0] for size in sizes)


def measure(models: Path, rounds: int, seconds: float) -> list[Row]:
    """All rows; in each round everything once, so that all share the machine's moods."""
    classifiers = models_dir(("lstm",))
    make_artifacts(classifiers, ("lstm",))
    lstm = export_lstm(MODELS_DIR / "decoding")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = folder / "models"
        repository.mkdir()
        for model in (*TRAINED, BENCH_LSTM):
            source = lstm if model == BENCH_LSTM else models / model
            if not source.is_dir():
                raise BenchError(f"there is no {source}; export it with `sightline export {model}`")
            (repository / model).symlink_to(source.resolve())
        layout, port, http_port = Layout(repository), free_port(), free_port()
        stepped: list[float] = []
        made: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            stepped.append(stepped_by_clients(Layout(classifiers), seconds, folder))
            with running(layout.server_cores, service_command(layout, port, http_port)) as root:
                await_readyz(http_port, root)
                for model in (*TRAINED, BENCH_LSTM):
                    body = folder / f"{model}.bin"
                    body.write_bytes(request_body(model, repository))
                    for in_flight in (1, IN_FLIGHT):
                        load = partial(send, layout, f"127.0.0.1:{port}", PREDICT, body, in_flight)
                        rate = STEPS * calls_a_second(load, in_flight, seconds)
                        made.setdefault((model, in_flight), []).append(rate)
        return [
            Row(
                model,
                spread(made[model, 1]),
                spread(made[model, IN_FLIGHT]),
                spread(stepped) if model == BENCH_LSTM else None,
                bare_steps(repository / model / "1", seconds, layout.server_cores),
            )
            for model in (*TRAINED, BENCH_LSTM)
        ]


def table(rows: list[Row]) -> Table:
    """For people."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("steps a second")
    for title in ("one at a time", "16 at once", "stepped by 16 clients", "ceiling"):
        made.add_column(title, justify="right")
    for title in ("of it", "ratio", "at least", "holds"):
        made.add_column(title, justify="right")
    for row in rows:
        holds = row.ratio >= AT_LEAST[row.model]
        made.add_row(
            row.model,
            *(_rate(each) for each in (row.one, row.sixteen, row.stepped)),
            f"{row.ceiling:,.0f}",
            f"{row.sixteen.median / row.ceiling:.2f}",
            f"{row.ratio:.1f}x",
            f"{AT_LEAST[row.model]:g}x",
            "[green]yes[/]" if holds else "[bold red]NO[/]",
        )
    return made


def _rate(rate: Spread | None) -> str:
    if rate is None:
        return "-"
    return f"{rate.median:,.0f} ({rate.lowest:,.0f}..{rate.highest:,.0f})"


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
        rows = measure(arguments.models, arguments.rounds, arguments.seconds)
    except BenchError as err:
        raise SystemExit(f"bench: {err}") from err
    console: Console = wide_console()
    console.print(table(rows))
    kept = [{**row._asdict(), "ratio": row.ratio} for row in rows]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(kept, indent=1) + "\n")
    console.print(f"kept in {arguments.output}")


if __name__ == "__main__":
    main()
