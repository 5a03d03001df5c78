"""Starts frontends and workers, connects them, watches them, starts them again.

No request passes it.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from importlib import metadata
from platform import python_version

from service import metrics
from service.arena import Arena
from service.children import Child, bury, reserve_port, spawn
from service.control import (
    Acknowledged,
    Connect,
    Drain,
    Load,
    Loaded,
    LoadFailed,
    Message,
    Serve,
    Start,
    Started,
)
from service.devices import Device, available_cores, resolve_devices
from service.doorbell import doorbell_pair
from service.lifecycle import Version, scan_repository
from service.settings import Settings
from service.status_server import ProcessStatus, Status, StatusServer

logger = logging.getLogger(__name__)

_FIRST_RESTART_DELAY_S = 0.5
_STABLE_AFTER_S = 60  # a process that lived so long may be started again at once
_ASK_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class _Seat:
    """A place that is always filled with a running process."""

    name: str
    kind: str
    device: Device | None = None
    intra_op_threads: int = 0


class Supervisor:
    """The root of the process tree.

    Raises:
        ArtifactError: the repository holds nothing.
        SettingsError: a device is asked for that is not there.
        OSError: a port is taken.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._versions = {each.model_id: each for each in scan_repository(settings.repository.path)}
        self._seats = _seats(settings)
        self._reserved = reserve_port(settings.server.host, settings.server.grpc_port)
        self.grpc_port: int = self._reserved.getsockname()[1]
        self.http_port = 0
        self._children: dict[str, Child] = {}
        self._is_draining = False

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; returns when everything has drained."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = self._settings.server
        status = StatusServer(server.host, server.http_port, lambda: self._ask(loop))
        self.http_port = status.port
        _set_build_info()
        logger.info(
            "gRPC on %s:%d, status on %s:%d",
            server.host,
            self.grpc_port,
            server.host,
            self.http_port,
        )
        for version in self._versions.values():
            self._announce(version)
        keepers = [asyncio.create_task(self._keep(seat)) for seat in self._seats]
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
        await self._drain(keepers)
        status.close()
        for each in done - {stopped}:
            each.result()  # a keeper ends before it is told to only by an error of ours

    # -- keeping processes alive

    async def _keep(self, seat: _Seat) -> None:
        """Fill a seat, again and again."""
        delay_s = 0.0
        while not self._is_draining:
            await asyncio.sleep(delay_s)
            started = time.monotonic()
            child = await self._start(seat)
            code = await child.process.wait()
            del self._children[seat.name]
            bury(child)
            if seat.kind == "worker":
                self._note_lost_worker(child)
            if self._is_draining:
                return
            metrics.PROCESS_RESTARTS.labels(seat.kind).inc()
            lived_s = time.monotonic() - started
            delay_s = self._next_delay_s(delay_s, lived_s, child.is_started)
            logger.error(
                "%s ended with %d after %.1f s; again in %.1f s", seat.name, code, lived_s, delay_s
            )

    def _next_delay_s(self, delay_s: float, lived_s: float, was_started: bool) -> float:
        """None after the first death; then twice as long each time, until one lives for a while."""
        if lived_s >= _STABLE_AFTER_S or (was_started and delay_s == 0):
            return 0.0 if lived_s >= 1 else _FIRST_RESTART_DELAY_S
        return min(
            max(2 * delay_s, _FIRST_RESTART_DELAY_S), self._settings.workers.max_restart_delay_s
        )

    async def _start(self, seat: _Seat) -> Child:
        arena = None
        if seat.kind == "frontend":
            arena = Arena.create(self._settings.channel.arena_bytes)
        child = await spawn(seat.name, seat.kind, arena, self._hear)
        self._children[seat.name] = child
        child.send(
            Start(
                seat.name,
                self._settings.model_dump(mode="json"),
                device=str(seat.device or ""),
                intra_op_threads=seat.intra_op_threads,
                port=self.grpc_port,
            ),
            (arena.fd,) if arena else (),
        )
        self._introduce(child)
        return child

    # -- what children say

    def _hear(self, child: Child, message: Message) -> None:
        if isinstance(message, Started):
            child.is_started = True
        elif isinstance(message, Acknowledged):
            child.unacknowledged -= 1
        elif isinstance(message, Loaded):
            self._note_loaded(child, message)
        elif isinstance(message, LoadFailed):
            version = self._versions[message.model_id]
            version.failed_on[child.name] = message.reason
            logger.error("%s/%d cannot be served: %s", version.name, version.number, message.reason)
            self._announce(version)
            self._load_next(child)

    def _introduce(self, child: Child) -> None:
        """Connect a new child with those of the other kind, and tell it about the models."""
        for other in list(self._children.values()):
            if other.kind != child.kind:
                pair = (child, other) if child.kind == "frontend" else (other, child)
                _connect(*pair)
        if child.kind == "worker":
            child.to_load = [v.model_id for v in self._versions.values() if not v.broken]
            self._load_next(child)
        else:
            for version in self._versions.values():
                _tell(child, version)
            child.send(Serve())

    def _load_next(self, worker: Child) -> None:
        """One model at a time, so that it is known which one a worker died over."""
        worker.loading = None
        while worker.to_load:
            version = self._versions[worker.to_load.pop(0)]
            if version.broken:
                continue
            worker.loading = version.model_id
            best = version.best_batch_sizes.get(self._device(worker), 0)
            worker.send(Load(version.model_id, str(version.path), version.artifact_sha256, best))
            timeout_s = self._settings.workers.load_timeout_s
            asyncio.get_running_loop().call_later(
                timeout_s, self._check_load, worker, version, timeout_s
            )
            return

    def _check_load(self, worker: Child, version: Version, timeout_s: float) -> None:
        if worker.loading == version.model_id and self._children.get(worker.name) is worker:
            version.broken = f"loading took longer than workers.load_timeout_s ({timeout_s:.0f} s)"
            logger.error("%s/%d: %s", version.name, version.number, version.broken)
            worker.kill()

    def _note_loaded(self, worker: Child, loaded: Loaded) -> None:
        version, device = self._versions[loaded.model_id], self._device(worker)
        version.note_loaded(worker.name, device, loaded)
        labels = (version.name, str(version.number), device)
        metrics.MODEL_LOAD_DURATION.labels(*labels).set(loaded.load_s)
        logger.info(
            "%s/%d is ready on %s (%s) after %.1f s, nodes: %s",
            *(version.name, version.number, worker.name, device, loaded.load_s, loaded.placement),
        )
        self._announce(version)
        self._load_next(worker)

    def _note_lost_worker(self, worker: Child) -> None:
        for version in self._versions.values():
            version.note_lost(worker.name, was_loading=worker.loading == version.model_id)
            self._announce(version)

    def _device(self, worker: Child) -> str:
        return next(str(seat.device) for seat in self._seats if seat.name == worker.name)

    def _announce(self, version: Version) -> None:
        for device in {str(seat.device) for seat in self._seats if seat.device}:
            ready = sum(on == device for on in version.ready_on.values())
            metrics.MODEL_READY.labels(version.name, str(version.number), device).set(ready)
        for child in self._children.values():
            if child.kind == "frontend":
                _tell(child, version)

    # -- what operators ask

    def _ask(self, loop: asyncio.AbstractEventLoop) -> Status:
        """For the status server's threads: the loop answers, so a hanging one is noticed."""

        async def answer() -> Status:
            return self.status()

        return asyncio.run_coroutine_threadsafe(answer(), loop).result(_ASK_TIMEOUT_S)

    def status(self) -> Status:
        """Ready when all frontends are up, no model is in its first load, and one can be asked."""
        versions = self._versions.values()
        children = {name: child for name, child in self._children.items() if child.is_started}
        reason = ""
        if self._is_draining:
            reason = "draining"
        elif missing := [
            s.name for s in self._seats if s.kind == "frontend" and s.name not in children
        ]:
            reason = f"not started yet: {', '.join(missing)}"
        elif loading := [f"{v.name}/{v.number}" for v in versions if v.state == "loading"]:
            reason = f"loading: {', '.join(loading)}"
        elif not any(version.ready_on for version in versions):
            reason = "no worker has a model ready"
        elif any(child.unacknowledged for child in children.values()):
            reason = "a frontend has not heard of the newest state of the models yet"
        states = {
            f"{v.name}/{v.number}": v.state + (f": {v.reason}" if v.state == "failed" else "")
            for v in versions
        }
        processes = [ProcessStatus("supervisor", os.getpid(), True)]
        for seat in self._seats:
            child = self._children.get(seat.name)
            pid = child.process.pid if child else 0
            processes.append(ProcessStatus(seat.name, pid, seat.name in children))
        return Status(not reason, reason, states, tuple(processes))

    # -- the end

    async def _drain(self, keepers: list["asyncio.Task[None]"]) -> None:
        """Frontends finish what is under way, and only then do the workers stop."""
        self._is_draining = True
        grace_s = self._settings.server.drain_timeout_s
        logger.info("draining")
        for kind in ("frontend", "worker"):
            children = [child for child in self._children.values() if child.kind == kind]
            for child in children:
                child.send(Drain())
            await _wait_or_kill(children, grace_s + _ASK_TIMEOUT_S)
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        self._reserved.close()
        logger.info("drained")


async def _wait_or_kill(children: list[Child], timeout_s: float) -> None:
    waits: list[Awaitable[int]] = [child.process.wait() for child in children]
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*waits)
    except TimeoutError:
        for child in children:
            if child.process.returncode is None:
                logger.error("%s did not drain within %.0f s: killed", child.name, timeout_s)
                child.kill()


def _tell(frontend: Child, version: Version) -> None:
    frontend.unacknowledged += 1
    frontend.send(version.update())


def _connect(frontend: Child, worker: Child) -> None:
    """Give both a doorbell to the other, and the worker the frontend's arena."""
    ours, theirs = doorbell_pair()
    assert frontend.arena is not None
    worker.send(Connect(frontend.name), (theirs.fileno(), frontend.arena.fd))
    frontend.send(Connect(worker.name), (ours.fileno(),))
    ours.close()
    theirs.close()


def _seats(settings: Settings) -> list[_Seat]:
    """One seat a process: ``frontends``, and ``per_device`` workers for each device."""
    cores = available_cores()
    workers = settings.workers
    devices = [
        device for device in resolve_devices(workers.devices) for _ in range(workers.per_device)
    ]
    on_cpu = sum(device.kind == "cpu" for device in devices)
    threads = workers.intra_op_threads or max(1, cores // max(1, on_cpu))
    frontends = settings.server.frontends or max(1, cores // 2)
    seats = [_Seat(f"frontend-{index}", "frontend") for index in range(frontends)]
    return seats + [
        _Seat(f"worker-{index}", "worker", device, threads) for index, device in enumerate(devices)
    ]


def _set_build_info() -> None:
    versions: dict[str, str] = {}
    for package in ("sightline", "onnxruntime", "onnxruntime-gpu", "grpcio"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    runtime = versions.get("onnxruntime-gpu") or versions.get("onnxruntime", "")
    metrics.BUILD_INFO.labels(
        versions.get("sightline", ""), python_version(), runtime, versions["grpcio"]
    ).set(1)
