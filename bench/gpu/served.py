"""The service on the device: ``python -m bench.gpu.served NETWORK DEVICE SECONDS``.

Raw pixels from h2load, a line for each load; then ``kill -9`` of the only worker under load.
"""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from bench.gpu.h2load import put_on_path
from bench.gpu.machine import split_cores
from bench.gpu.parts import print_row
from bench.gpu.results import Kill, Load
from bench.kill import Callers, find
from bench.measure import RunningServer, measure
from bench.models import models_dir
from bench.networks import NETWORKS
from bench.processes import BenchError
from bench.results import Cell, Photo
from bench.servers import Layout, service

LOADS = ((1, 32), (16, 8), (16, 32))
"""Images a call, and calls in flight."""
FRONTENDS = 4
RECOVERY_S = 40
_BEFORE_KILL_S = 1.0
_QUERY = "--query-gpu=utilization.gpu,memory.used,power.draw"
_PERIOD_MS = 100

Usage = tuple[float, float, float]
"""Utilisation in percent, memory in MiB, power in watts; means."""


class GpuWatch:
    """Asks nvidia-smi again and again while a block runs; without it, nothing is known."""

    def __init__(self, device: str) -> None:
        index = device.partition(":")[2] or "0"
        self._command = ["nvidia-smi", f"--id={index}", _QUERY, "--format=csv,noheader,nounits"]
        self._is_wanted = device != "cpu"
        self._process: subprocess.Popen[str] | None = None
        self.usage: Usage | None = None

    def __enter__(self) -> "GpuWatch":
        if self._is_wanted:
            try:
                self._process = subprocess.Popen(
                    [*self._command, f"--loop-ms={_PERIOD_MS}"], stdout=subprocess.PIPE, text=True
                )
            except OSError:
                self._is_wanted = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self.usage = mean_usage(self._process.communicate()[0])


def mean_usage(printed: str) -> Usage | None:
    """The means of the busier half of nvidia-smi's lines: the rest is warming up and settling."""
    rows: list[list[float]] = []
    for line in printed.splitlines():
        try:
            rows.append([float(each) for each in line.split(",")])
        except ValueError:  # a cut line, or [N/A]
            continue
    rows = sorted((row for row in rows if len(row) == 3), reverse=True)
    rows = rows[: max(1, len(rows) // 2)]
    if not rows:
        return None
    utilisation, memory, power = (statistics.fmean(column) for column in zip(*rows, strict=True))
    return utilisation, memory, power


def measure_loads(server: RunningServer, network: str, device: str, seconds: float) -> None:
    """Print a row for each load; one that fails does not stop the next."""
    _, cores = split_cores()
    for items, in_flight in LOADS:
        cell = Cell(model=network, photo=Photo.RAW, items=items, messages=1, in_flight=in_flight)
        try:
            with tempfile.TemporaryDirectory() as folder, GpuWatch(device) as watch:
                sample = measure(
                    server,
                    cell,
                    seconds=seconds / NETWORKS[network].patience,
                    cores=cores,
                    folder=Path(folder),
                )
        except BenchError as err:
            print_row(error=f"{cell.label}, {in_flight} in flight: {str(err)[:300]}")
            continue
        utilisation, memory_mib, power_w = watch.usage or (None, None, None)
        load = Load(
            items=items,
            in_flight=in_flight,
            images_per_s=sample.items_per_s,
            p50_s=sample.p50_s,
            p99_s=sample.p99_s,
            load_share=sample.load_share,
            utilisation=utilisation,
            memory_mib=memory_mib,
            power_w=power_w,
        )
        print_row(load=load.model_dump())


def kill_worker(server: RunningServer, network: str) -> Kill:
    """``kill -9`` the only worker under load, and wait until another one answers."""
    cell = Cell(model=network, photo=Photo.RAW, items=1, messages=1, in_flight=1)
    callers = Callers(server.address, cell)
    try:
        time.sleep(_BEFORE_KILL_S)
        worker = find(server.root, "worker")
        worker.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        recovery_s = _await_successor(server, worker.pid, callers, killed)
    finally:
        callers.stop()
    failed = {code: count for code, count in callers.outcomes.items() if code != "OK"}
    return Kill(answered=callers.outcomes["OK"], failed=failed, recovery_s=recovery_s)


def _await_successor(
    server: RunningServer, old: int, callers: Callers, killed: float
) -> float | None:
    """Seconds from the kill to the first answers of another worker; None if there are none."""
    answered: int | None = None
    while time.monotonic() - killed < RECOVERY_S:
        try:
            is_another = find(server.root, "worker").pid != old
        except BenchError:
            is_another = False
        if is_another and answered is None:
            answered = callers.outcomes["OK"]
        elif answered is not None and callers.outcomes["OK"] > answered:
            return time.monotonic() - killed
        time.sleep(0.02)
    return None


def main(network: str, device: str, seconds: float) -> None:
    put_on_path()
    cores, load_cores = split_cores()
    frontends = 1 if device == "cpu" else FRONTENDS
    repository = models_dir((network,))
    layout = Layout(repository, cores, load_cores, device, frontends)
    with service(layout, (network,)) as server:
        measure_loads(server, network, device, seconds)
        print_row(kill=kill_worker(server, network).model_dump())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
