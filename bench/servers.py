"""The three servers of a run: the baseline, the service, and its frontend answering a constant."""

import contextlib
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.measure import RunningServer, probe
from bench.models import floats_dir
from bench.networks import NETWORKS
from bench.processes import BenchError, free_port, running
from bench.results import Cell, Photo, Server
from service.artifact.manifest import Task
from service.supervisor.child import MALLOC_SETTINGS

START_TIMEOUT_S = 90


@dataclass(frozen=True)
class Layout:
    """Where servers run, and how the service is set up."""

    models_dir: Path
    server_cores: str = "0"
    load_cores: str = "1"
    devices: str = "cpu"
    frontends: int = 1
    workers: int = 1


def service_command(layout: Layout, grpc_port: int, http_port: int) -> list[str]:
    """How the service is started: here and nowhere else."""
    command = [sys.executable, "-m", "service", "--models", str(layout.models_dir)]
    command += ["--frontends", str(layout.frontends), "--workers", str(layout.workers)]
    command += ["--devices", layout.devices]
    return [*command, "--grpc-port", str(grpc_port), "--http-port", str(http_port)]


@contextlib.contextmanager
def service(layout: Layout, models: tuple[str, ...]) -> Iterator[RunningServer]:
    """The service, once all ``models`` are ready."""
    port, http_port = free_port(), free_port()
    with running(layout.server_cores, service_command(layout, port, http_port)) as root:
        await_readyz(http_port, root)
        yield _ready(Server.SERVICE, port, root, models, http_port)


@contextlib.contextmanager
def baseline(layout: Layout, models: tuple[str, ...]) -> Iterator[RunningServer]:
    """The baseline, with the same models."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "bench.baseline",
        str(port),
        str(floats_dir(layout.models_dir)),
    ]
    command.append(layout.devices)
    classifiers = tuple(name for name in models if NETWORKS[name].task is Task.CLASSIFICATION)
    with running(layout.server_cores, command) as root:
        yield _ready(Server.BASELINE, port, root, classifiers)


@contextlib.contextmanager
def transport(layout: Layout, models: tuple[str, ...]) -> Iterator[RunningServer]:
    """The frontend's gRPC server alone."""
    port = free_port()
    command = [sys.executable, "-m", "bench.constant_server", str(port)]
    with tempfile.TemporaryDirectory() as metrics_folder:
        environment = {**MALLOC_SETTINGS, "PROMETHEUS_MULTIPROC_DIR": metrics_folder}
        with running(layout.server_cores, command, environment) as root:
            yield _ready(Server.TRANSPORT, port, root, models)


def await_readyz(http_port: int, root: psutil.Process) -> None:
    """Wait until the service reports ready: it does so once all models are loaded."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/readyz", timeout=5):
                return
        except OSError as err:
            if time.monotonic() > deadline or root.status() == psutil.STATUS_ZOMBIE:
                raise BenchError(f"the service did not become ready: {err}") from err
            time.sleep(0.2)


def _ready(
    kind: Server,
    port: int,
    root: psutil.Process,
    models: tuple[str, ...],
    http_port: int | None = None,
) -> RunningServer:
    """Ask every model until all of them answer."""
    address, deadline = f"127.0.0.1:{port}", time.monotonic() + START_TIMEOUT_S
    for model in models:
        cell = Cell(model=model, photo=Photo.RAW, items=1, messages=1, in_flight=1)
        while True:
            try:
                probe(address, cell)
                break
            except BenchError as err:
                if time.monotonic() > deadline or root.status() == psutil.STATUS_ZOMBIE:
                    raise BenchError(f"the {kind} did not become ready: {err}") from err
                time.sleep(0.2)
    return RunningServer(kind, address, root, http_port)
