"""One hop through the channel, without a model: ``python -m bench.hop``.

The frontend writes a row into a slot, rings, and waits; the worker queues the ticket, forms a
batch, copies the row out as it would for a run, and reports. Beside it, the same row through a
``multiprocessing.Pipe``. Both sides share one core, as they do on a small machine.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.figures import quantile
from service.artifact.manifest import Batching, Manifest, Provenance, Task, TensorSpec, Tolerance
from service.frontend.call import Call
from service.frontend.dispatch.concurrency import ConcurrentRequests
from service.frontend.dispatch.dispatcher import Dispatcher
from service.ipc.arena import Arena
from service.ipc.doorbell import (
    Cancel,
    Outcome,
    TicketStatus,
    doorbell_pair,
    pack_outcomes,
    unpack_order,
)
from service.ipc.slot_layout import SlotLayout
from service.worker.batch_queue import BatchQueue
from service.worker.scheduler import Scheduler

ROW_BYTES = (224 * 224 * 3, 400)
LIMIT_S = 150e-6  # p50 of the larger row
ARENA_BYTES = 8 << 20
_DEADLINE_NS = 600 * 10**9  # for all hops of one size


def manifest_of(row_bytes: int) -> Manifest:
    """A model that takes ``row_bytes`` bytes and gives ten numbers."""
    return Manifest(
        name="hop",
        version=1,
        task=Task.CLASSIFICATION,
        architecture="none",
        inputs=(TensorSpec(name="row", dtype="uint8", axes=("batch", row_bytes)),),
        outputs=(TensorSpec(name="scores", dtype="float32", axes=("batch", 10)),),
        batching=Batching(max_batch_size=1),
        opset_version=20,
        tolerance=Tolerance(atol=0, rtol=0),
        provenance=Provenance(source="bench.hop", created="-"),
        files={},
    )


class EchoWorker:
    """The worker's real queue and doorbell, with a copy of the row instead of a run."""

    def __init__(self, doorbell: socket.socket, arena: Arena) -> None:
        self.arena = arena
        self._doorbell = doorbell
        self._scheduler = Scheduler()

    def send_outcomes(self, outcomes: list[Outcome]) -> None:
        """Ring back."""
        for packet in pack_outcomes(outcomes):
            self._doorbell.send(packet)

    def serve(self) -> None:
        """Serve until the other side has closed."""
        for model_id, row_bytes in enumerate(ROW_BYTES):
            queue = self._scheduler.open(model_id, 1, 1024)
            layout = SlotLayout.of(manifest_of(row_bytes), 1)
            threading.Thread(target=self._run, args=(queue, layout), daemon=True).start()
        while packet := self._doorbell.recv(256):
            order = unpack_order(packet)
            if not isinstance(order, Cancel):
                self._scheduler.put([order], self)

    def _run(self, queue: BatchQueue, layout: SlotLayout) -> None:
        staging = np.zeros(layout.inputs[0].shape, np.uint8)
        scores = np.linspace(0, 1, 10, dtype=np.float32)
        while (batch := self._scheduler.next_batch(queue)) is not None:
            slot = batch.parts[0].entry.ticket.slot
            self.arena.mark_running(slot)
            staging[:] = self.arena.tensor(slot, layout.inputs[0])
            np.copyto(self.arena.tensor(slot, layout.outputs[0]), scores)
            finished = self._scheduler.finish_run(queue, batch, 0)
            self.send_outcomes([Outcome(e.ticket.id, TicketStatus.DONE, 1) for e in finished])


def measure_channel(row_bytes: int, dispatcher: Dispatcher, hops: int) -> list[float]:
    """Latency of each hop through our channel, in seconds."""
    model_id = ROW_BYTES.index(row_bytes)
    layout = SlotLayout.of(manifest_of(row_bytes), 1)
    row = np.arange(row_bytes).astype(np.uint8)
    now_ns = time.monotonic_ns()
    call = Call(
        *(now_ns + _DEADLINE_NS, now_ns, _DEADLINE_NS),
        on_end=lambda _: True,
        is_active=lambda: True,
        concurrent_requests=ConcurrentRequests(),
    )

    def hop() -> None:
        with contextlib.closing(dispatcher.reserve(model_id, layout)) as slot:
            np.copyto(slot.inputs()[0][0], row)
            dispatcher.submit(slot, 1, call).wait()
            slot.outputs()[0].tolist()

    return time_each(hop, hops)


def measure_pipe(row_bytes: int, pipe: Connection, hops: int) -> list[float]:
    """Latency of each hop through a ``multiprocessing.Pipe``, in seconds."""
    row = np.arange(row_bytes).astype(np.uint8)

    def hop() -> None:
        pipe.send(row)
        pipe.recv()

    return time_each(hop, hops)


def time_each(hop: Callable[[], None], count: int) -> list[float]:
    """Seconds of each of ``count`` hops, after a tenth of them to warm up."""
    latencies_s: list[float] = []
    for index in range(-count // 10, count):
        started = time.perf_counter()
        hop()
        if index >= 0:
            latencies_s.append(time.perf_counter() - started)
    return latencies_s


def serve_pipe(pipe: Connection) -> None:
    """The other side of the pipe, until the pipe is closed."""
    scores = np.linspace(0, 1, 10, dtype=np.float32)
    try:
        while True:
            pipe.recv()
            pipe.send(scores)
    except EOFError:
        return


def measure(hops: int) -> dict[str, dict[int, list[float]]]:
    """Both transports, both sizes."""
    ours, theirs = doorbell_pair()
    our_pipe, their_pipe = socket.socketpair()
    arena = Arena.create(ARENA_BYTES)
    fds = (theirs.fileno(), arena.fd, their_pipe.fileno())
    command = [sys.executable, "-m", "bench.hop", "--serve", *map(str, fds)]
    child = subprocess.Popen(command, pass_fds=fds)
    theirs.close()
    their_pipe.close()
    dispatcher = Dispatcher(arena, ConcurrentRequests())
    dispatcher.connect("worker", ours)
    for model_id in range(len(ROW_BYTES)):
        dispatcher.set_workers(model_id, ["worker"])
    pipe = Connection(our_pipe.detach())
    try:
        return {
            "channel": {size: measure_channel(size, dispatcher, hops) for size in ROW_BYTES},
            "pipe": {size: measure_pipe(size, pipe, hops) for size in ROW_BYTES},
        }
    finally:
        pipe.close()
        child.terminate()
        child.wait()


def serve(doorbell_fd: int, arena_fd: int, pipe_fd: int) -> None:
    """Body of the worker process."""
    pipe = Connection(pipe_fd)
    threading.Thread(target=serve_pipe, args=(pipe,), daemon=True).start()
    EchoWorker(socket.socket(fileno=doorbell_fd), Arena.attach(arena_fd)).serve()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hop")
    parser.add_argument("--hops", type=int, default=5000)
    parser.add_argument("--core", type=int, default=0, help="where both sides run; default 0")
    parser.add_argument("--serve", nargs=3, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    os.sched_setaffinity(0, {arguments.core})
    print_table(measure(arguments.hops))


def print_table(measured: dict[str, dict[int, list[float]]]) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("hop through", "row, bytes", "p50 us", "p99 us", "p50 under 150 us"):
        table.add_column(title, justify="right")
    for transport, by_size in measured.items():
        for size, latencies_s in by_size.items():
            p50, p99 = quantile(latencies_s, 0.5), quantile(latencies_s, 0.99)
            verdict = ("yes" if p50 < LIMIT_S else "NO") if transport == "channel" else ""
            table.add_row(transport, f"{size:,}", f"{p50 * 1e6:.0f}", f"{p99 * 1e6:.0f}", verdict)
    Console().print(table)


if __name__ == "__main__":
    main()
