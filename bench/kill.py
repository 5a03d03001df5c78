"""``kill -9`` under load: ``python -m bench.kill`` (``--kind frontend`` for the other process)."""

import argparse
import contextlib
import signal
import threading
import time
from collections import Counter

import grpc
import psutil
from rich.console import Console

from bench.cases import request_of
from bench.measure import RunningServer, check_answer
from bench.models import make_artifacts, models_dir
from bench.processes import BenchError, tree
from bench.results import Cell, Photo
from bench.servers import Layout, service
from sightline.v1 import classification_pb2_grpc as pb_grpc

IN_FLIGHT = 16
CELL = Cell(model="tinycnn", photo=Photo.RAW, items=1, messages=1, in_flight=IN_FLIGHT)
_CALL_TIMEOUT_S = 30


class Callers:
    """Threads that call without pause, each on its own connection, and count the outcomes."""

    def __init__(self, address: str, cell: Cell = CELL) -> None:
        self.outcomes: Counter[str] = Counter()
        self._cell = cell
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(address,)) for _ in range(IN_FLIGHT)
        ]
        for thread in self._threads:
            thread.start()

    def _call(self, address: str) -> None:
        # Without the option all channels of a process share one connection.
        own = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options=own) as channel:
            stub = pb_grpc.ClassificationServiceStub(channel)
            while not self._stopped.is_set():
                outcome = self._call_once(stub)
                with self._lock:
                    self.outcomes[outcome] += 1

    def _call_once(self, stub: pb_grpc.ClassificationServiceStub) -> str:
        try:
            # Waits for a connection instead of failing at once while there is none. So the calls
            # that fail are those under way, not the thousand tries of the following second.
            response = stub.Classify(
                request_of(self._cell), timeout=_CALL_TIMEOUT_S, wait_for_ready=True
            )
            check_answer(self._cell, response)
        except grpc.RpcError as err:
            return err.code().name
        except BenchError as err:
            return str(err)
        return "OK"

    def stop(self) -> None:
        """Let every thread finish its call."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def find(root: psutil.Process, kind: str) -> psutil.Process:
    """One process of the service."""
    for process in tree(root):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if f"service.{kind}" in process.cmdline():
                return process
    raise BenchError(f"the service has no {kind} now")


def kill_under_load(server: RunningServer, kind: str, kills: int, pause_s: float) -> Counter[str]:
    """Kill a process several times while calls are under way, and say how the calls ended."""
    callers = Callers(server.address)
    try:
        for _ in range(kills):
            time.sleep(pause_s)
            find(server.root, kind).send_signal(signal.SIGKILL)
        time.sleep(pause_s)
    finally:
        callers.stop()
    return callers.outcomes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kill", description=__doc__)
    parser.add_argument("--kind", choices=("worker", "frontend"), default="worker")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--pause", type=float, default=4, help="seconds between them; default 4")
    arguments = parser.parse_args()
    repository = models_dir((CELL.model,))
    make_artifacts(repository, (CELL.model,))
    layout = Layout(repository, frontends=1 if arguments.kind == "worker" else 2)
    with service(layout, (CELL.model,)) as server:
        outcomes = kill_under_load(server, arguments.kind, arguments.kills, arguments.pause)
    failed = sum(outcomes.values()) - outcomes["OK"]
    Console().print(
        f"{arguments.kills} times kill -9 of a {arguments.kind}, {IN_FLIGHT} in flight:"
        f" {outcomes['OK']:,} calls answered, {failed} failed {dict(outcomes - Counter(OK=10**9))}"
    )


if __name__ == "__main__":
    main()
