"""A whole run: three servers side by side, one cell after the other, several rounds."""

import contextlib
import platform
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from bench import servers
from bench.cases import is_busiest, planned_cells
from bench.ceilings import bare_decode, bare_runs
from bench.measure import RunningServer, measure
from bench.models import artifact_dir
from bench.networks import NETWORKS
from bench.processes import BenchError, count_cores, memory_bytes
from bench.results import BareDecode, BareRun, Cell, Machine, Photo, Results, Sample, Server
from service.artifact.manifest import Task

BARE_SHARE = 0.25  # of the seconds of a cell, for each batch size
VERSIONS = (
    "onnxruntime",
    "grpcio",
    "protobuf",
    "numpy",
    "pillow",
    "opencv-contrib-python-headless",
)

Step = Callable[[], Sample | list[BareRun] | BareDecode]


@dataclass(frozen=True)
class Plan:
    """The plan of a run."""

    layout: servers.Layout
    models: tuple[str, ...]
    rounds: int
    seconds: float
    quick: bool = False


def run(plan: Plan, on_step: Callable[[str, int], None]) -> Results:
    """Measure everything in the plan.

    Args:
        plan: what to measure.
        on_step: called before each step, with its title and the number of all steps.
    """
    found: list[Sample | BareRun | BareDecode] = []
    failures: list[str] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = [
            stack.enter_context(start(plan.layout, plan.models))
            for start in (servers.baseline, servers.service, servers.transport)
        ]
        steps = list(_steps(plan, running, folder))
        for title, step in steps:
            on_step(title, len(steps))
            try:
                outcome = step()
            except BenchError as err:
                failures.append(f"{title}: {err}")
            else:
                found += outcome if isinstance(outcome, list) else [outcome]
        memory = {server.kind: memory_bytes(server.root) for server in running}
    return Results(
        machine=describe_machine(plan.layout.devices),
        server_cores=count_cores(plan.layout.server_cores),
        rounds=plan.rounds,
        seconds=plan.seconds,
        samples=tuple(each for each in found if isinstance(each, Sample)),
        bare_runs=tuple(each for each in found if isinstance(each, BareRun)),
        bare_decodes=tuple(each for each in found if isinstance(each, BareDecode)),
        memory_bytes=memory,
        failures=tuple(failures),
    )


def _steps(plan: Plan, running: list[RunningServer], folder: Path) -> Iterator[tuple[str, Step]]:
    """The steps, interleaved: in each round every cell on every server, then the parts alone."""
    cells = planned_cells(plan.models, quick=plan.quick)
    for round_ in range(plan.rounds):
        for cell in cells:
            if round_ and is_slow(cell):
                continue
            for server in running:
                if answers(server.kind, cell):
                    title = f"{server.kind}: {cell.label}, {cell.in_flight} in flight"
                    yield title, _measurement(plan, server, cell, folder)
        yield from _bare_steps(plan, cells)


def _measurement(plan: Plan, server: RunningServer, cell: Cell, folder: Path) -> Step:
    cores = plan.layout.load_cores
    return lambda: measure(server, cell, seconds=plan.seconds, cores=cores, folder=folder)


def _bare_steps(plan: Plan, cells: list[Cell]) -> Iterator[tuple[str, Step]]:
    layout, seconds = plan.layout, BARE_SHARE * plan.seconds
    for model in plan.models:
        folder = artifact_dir(layout.models_dir, model)
        yield (
            f"bare run: {model}",
            lambda folder=folder: bare_runs(
                folder, seconds=seconds, cores=layout.server_cores, device=layout.devices
            ),
        )
    encoded = {(c.model, c.photo): None for c in cells if c.photo is not Photo.RAW}
    for model, photo in encoded:
        folder = artifact_dir(layout.models_dir, model)
        yield (
            f"bare decoder: {photo}",
            lambda folder=folder, photo=photo: bare_decode(
                folder, photo, seconds=plan.seconds / 2, cores=layout.server_cores
            ),
        )


def is_slow(cell: Cell) -> bool:
    """Whether one round of the cell is enough: for slow networks below the busiest load."""
    return NETWORKS[cell.model].patience > 1 and not is_busiest(cell)


def answers(kind: Server, cell: Cell) -> bool:
    """Whether a server is measured in the cell.

    The baseline only classifies, and has no streams; few cells have a floor.
    """
    if kind is Server.BASELINE:
        return NETWORKS[cell.model].task is Task.CLASSIFICATION and not cell.is_stream
    return kind is Server.SERVICE or is_busiest(cell)


def describe_machine(devices: str) -> Machine:
    """What a reader needs to judge the figures, without a name of the machine itself."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return Machine(
        cpu=model[1].strip() if model else platform.machine(),
        cores=psutil.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        devices=devices if devices == "cpu" else _gpu_name(),
        versions={"python": platform.python_version()} | {name: version(name) for name in VERSIONS},
    )


def _gpu_name() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
