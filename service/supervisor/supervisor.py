"""Starts frontends and workers, connects them, watches them, starts them again.

No request passes it.
"""

import asyncio
import errno
import logging
import os
import signal
import time
from collections.abc import Awaitable, Generator
from contextlib import contextmanager

from service import metrics
from service.addresses import authority
from service.ipc.arena import Arena
from service.ipc.control import (
    Acknowledged,
    Connect,
    Drain,
    Loaded,
    LoadFailed,
    Message,
    Serve,
    Start,
    Started,
)
from service.ipc.doorbell import doorbell_pair
from service.settings import Settings
from service.supervisor.child import Child, close_child, reserve_port, spawn
from service.supervisor.model_loading import Rollout
from service.supervisor.model_versions import scan_repository
from service.supervisor.process_specs import ProcessSpec, process_specs
from service.supervisor.status_server import ProcessStatus, Status, StatusServer

logger = logging.getLogger(__name__)

_FIRST_RESTART_DELAY_S = 0.5
_STARTS_WITHIN_S = 1.0
_MAX_DOUBLINGS = 16
_STABLE_AFTER_S = 60  # a process that lived so long may be started again at once
_ASK_TIMEOUT_S = 5


class Supervisor:
    """The root of the process tree.

    Raises:
        ArtifactError: the repository holds nothing.
        SettingsError: a device is asked for that is not there.
        OSError: a port is taken.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        versions = scan_repository(settings.repository.path)
        self._seats = process_specs(settings)
        self._children: dict[str, Child] = {}
        self._rollout = Rollout(
            versions,
            self._children,
            {seat.name: str(seat.device) for seat in self._seats if seat.device},
            settings.workers.load_timeout_s,
        )
        server = settings.server
        with _naming(authority(server.host, server.grpc_port), "server.grpc_port"):
            self._reserved = reserve_port(server.host, server.grpc_port)
        self.grpc_port: int = self._reserved.getsockname()[1]
        self.http_port = 0
        self._ending: set[str] = set()  # kinds of processes that are not started any more

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; returns when everything has drained."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = self._settings.server
        with _naming(authority(server.host, server.http_port), "server.http_port"):
            status = StatusServer(server.host, server.http_port, lambda: self._ask(loop))
        self.http_port = status.port
        metrics.set_build_info()
        logger.info(
            "gRPC on %s, status on %s",
            authority(server.host, self.grpc_port),
            authority(server.host, self.http_port),
        )
        self._rollout.announce()
        keepers = [asyncio.create_task(self._keep(seat)) for seat in self._seats]
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
        await self._drain(keepers)
        status.close()
        for each in done - {stopped}:
            each.result()  # a keeper ends before it is told to only by an error of ours

    # -- keeping processes alive

    async def _keep(self, seat: ProcessSpec) -> None:
        """Fill a seat, again and again."""
        delay_s, deaths = 0.0, 0
        while True:
            await asyncio.sleep(delay_s)
            if seat.kind in self._ending:
                return
            started = time.monotonic()
            child = await self._start(seat)
            code = await child.process.wait()
            del self._children[seat.name]
            close_child(child)
            if seat.kind == "worker":
                self._rollout.note_lost(child)
            if seat.kind in self._ending:
                return
            metrics.PROCESS_RESTARTS.labels(seat.kind).inc()
            lived_s = time.monotonic() - started
            deaths = 1 if lived_s >= _STABLE_AFTER_S else deaths + 1
            longest_s = self._settings.workers.max_restart_delay_s
            delay_s = restart_delay_s(deaths, lived_s, longest_s)
            logger.error(
                "%s ended with %d after %.1f s; again in %.1f s", seat.name, code, lived_s, delay_s
            )

    async def _start(self, seat: ProcessSpec) -> Child:
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
            self._rollout.note_loaded(child, message)
        elif isinstance(message, LoadFailed):
            self._rollout.note_failed(child, message)

    def _introduce(self, child: Child) -> None:
        """Connect a new child with those of the other kind, and tell it about the models."""
        for other in list(self._children.values()):
            if other.kind != child.kind:
                pair = (child, other) if child.kind == "frontend" else (other, child)
                _connect(*pair)
        if child.kind == "worker":
            self._rollout.begin(child)
        else:
            self._rollout.tell_all(child)
            child.send(Serve())

    # -- what operators ask

    def _ask(self, loop: asyncio.AbstractEventLoop) -> Status:
        """For the status server's threads: the loop answers, so a hanging one is noticed."""

        async def answer() -> Status:
            return self.status()

        return asyncio.run_coroutine_threadsafe(answer(), loop).result(_ASK_TIMEOUT_S)

    def status(self) -> Status:
        """Ready when all frontends are up, no model is in its first load, and one can be asked."""
        versions = self._rollout.versions
        children = {name: child for name, child in self._children.items() if child.is_started}
        reason = ""
        if self._ending:
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
        grace_s = self._settings.server.drain_timeout_s
        logger.info("draining")
        for kind in ("frontend", "worker"):  # until the first have ended, the second are replaced
            self._ending.add(kind)
            children = [child for child in self._children.values() if child.kind == kind]
            for child in children:
                child.send(Drain())
            await _wait_or_kill(children, grace_s + _ASK_TIMEOUT_S)
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        self._reserved.close()
        logger.info("drained")


def restart_delay_s(deaths: int, lived_s: float, longest_s: float) -> float:
    """Before a process is started again: none if it is the first to die, and lived for a moment.

    Then twice as long each time.

    Args:
        deaths: in a row, this one counted.
        lived_s: the last one.
        longest_s: no pause is longer.
    """
    doublings = deaths - (2 if lived_s >= _STARTS_WITHIN_S else 1)
    if doublings < 0:
        return 0.0
    return min(_FIRST_RESTART_DELAY_S * 2 ** min(doublings, _MAX_DOUBLINGS), longest_s)


@contextmanager
def _naming(address: str, setting: str) -> Generator[None]:
    """Say of an address that cannot be listened on which one it is, and what to set."""
    try:
        yield
    except OSError as err:
        remedy = "stop the server that does, or set" if err.errno == errno.EADDRINUSE else "set"
        raise OSError(
            f"cannot listen on {address}: {err.strerror or err}; {remedy} {setting} or server.host"
        ) from err


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


def _connect(frontend: Child, worker: Child) -> None:
    """Give both a doorbell to the other, and the worker the frontend's arena."""
    ours, theirs = doorbell_pair()
    assert frontend.arena is not None
    worker.send(Connect(frontend.name), (theirs.fileno(), frontend.arena.fd))
    frontend.send(Connect(worker.name), (ours.fileno(),))
    ours.close()
    theirs.close()
