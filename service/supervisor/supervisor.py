"""Starts frontends and workers, connects them, watches them and starts them again.

No request passes through the supervisor.
"""

import asyncio
import errno
import logging
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
from service.supervisor.model_loading import ModelLoading
from service.supervisor.model_versions import scan_repository
from service.supervisor.process_specs import ProcessSpec, process_specs
from service.supervisor.readiness import ServerState, server_state
from service.supervisor.restarts import STABLE_AFTER_S, restart_delay_s
from service.supervisor.status_server import StatusServer

logger = logging.getLogger(__name__)

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
        for each in versions:
            if each.broken:
                logger.error("%s/%d cannot be served: %s", each.name, each.number, each.broken)
        self._specs = process_specs(settings)
        self._children: dict[str, Child] = {}
        self._loading = ModelLoading(
            versions,
            self._children,
            {spec.name: str(spec.device) for spec in self._specs if spec.device},
            settings.workers.load_timeout_s,
        )
        server = settings.server
        with _naming(authority(server.host, server.grpc_port), "server.grpc_port"):
            self._reserved = reserve_port(server.host, server.grpc_port)
        self.grpc_port: int = self._reserved.getsockname()[1]
        self.http_port = 0
        self._ending: set[str] = set()  # kinds of processes that are not started any more

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; returns when everything has drained. SIGHUP is ignored."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, _refuse_reload)
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
        self._loading.announce()
        keepers = [asyncio.create_task(self._keep(spec)) for spec in self._specs]
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
        await self._drain(keepers)
        status.close()
        for each in done - {stopped}:
            each.result()  # raises: a keeper ends early only through a bug

    # -- keeping processes alive

    async def _keep(self, spec: ProcessSpec) -> None:
        """Start the process, and start it again whenever it ends."""
        delay_s, deaths = 0.0, 0
        while True:
            await asyncio.sleep(delay_s)
            if spec.kind in self._ending:
                return
            started = time.monotonic()
            child = await self._start(spec)
            code = await child.process.wait()
            del self._children[spec.name]
            close_child(child)
            if spec.kind == "worker":
                self._loading.note_lost(child)
            if spec.kind in self._ending:
                return
            metrics.PROCESS_RESTARTS.labels(spec.kind).inc()
            lived_s = time.monotonic() - started
            deaths = 1 if lived_s >= STABLE_AFTER_S else deaths + 1
            longest_s = self._settings.workers.max_restart_delay_s
            delay_s = restart_delay_s(deaths, lived_s, longest_s)
            logger.error(
                "%s ended with %d after %.1f s; again in %.1f s", spec.name, code, lived_s, delay_s
            )

    async def _start(self, spec: ProcessSpec) -> Child:
        arena = None
        if spec.kind == "frontend":
            arena = Arena.create(self._settings.channel.arena_bytes)
        child = await spawn(spec.name, spec.kind, arena, self._hear)
        self._children[spec.name] = child
        child.send(
            Start(
                spec.name,
                self._settings.model_dump(mode="json"),
                device=str(spec.device or ""),
                intra_op_threads=spec.intra_op_threads,
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
            self._loading.note_loaded(child, message)
        elif isinstance(message, LoadFailed):
            self._loading.note_failed(child, message)

    def _introduce(self, child: Child) -> None:
        """Connect a new child to all processes of the other kind; tell it about the models."""
        for other in list(self._children.values()):
            if other.kind != child.kind:
                pair = (child, other) if child.kind == "frontend" else (other, child)
                _connect(*pair)
        if child.kind == "worker":
            self._loading.begin(child)
        else:
            self._loading.tell_all(child)
            child.send(Serve())

    # -- what operators ask

    def _ask(self, loop: asyncio.AbstractEventLoop) -> ServerState:
        """For threads of the status server: the event loop answers, so a hang is noticed."""

        async def answer() -> ServerState:
            return self.state()

        return asyncio.run_coroutine_threadsafe(answer(), loop).result(_ASK_TIMEOUT_S)

    def state(self) -> ServerState:
        """The state of all processes and models, and whether the server is ready."""
        return server_state(
            self._specs,
            self._children,
            self._loading.versions,
            required=self._settings.repository.required,
            is_draining=bool(self._ending),
        )

    # -- the end

    async def _drain(self, keepers: list["asyncio.Task[None]"]) -> None:
        """Frontends finish the requests under way; workers stop after that."""
        grace_s = self._settings.server.drain_timeout_s
        logger.info("draining")
        for kind in ("frontend", "worker"):  # workers are replaced until all frontends have ended
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


def _refuse_reload() -> None:
    """Without a handler, SIGHUP would kill the supervisor and every call with it."""
    logger.warning(
        "SIGHUP: reloading is not supported and nothing has changed; to read models, labels and"
        " certificates again, restart the server"
    )


@contextmanager
def _naming(address: str, setting: str) -> Generator[None]:
    """Add the address and the setting to change to an error of ``bind`` or ``listen``."""
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
