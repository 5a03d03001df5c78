"""Child processes of the supervisor: how they are started, and what is known of each."""

import asyncio
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

import service
from service import metrics
from service.addresses import family
from service.ipc.arena import Arena
from service.ipc.control import ControlSocket, Message, control_pair

logger = logging.getLogger(__name__)

_SEND_TIMEOUT_S = 5.0  # a child that reads nothing for this long hangs

# glibc gives large blocks back to the system at each free and faults them in again at the next
# call: on images that cost more than decoding them. Two arenas bound what many threads can hoard.
MALLOC_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_ARENA_MAX": "2",
}


@dataclass(eq=False, slots=True)
class Child:
    """One running process."""

    name: str
    kind: str  # "frontend" or "worker"
    process: asyncio.subprocess.Process
    control: ControlSocket
    arena: Arena | None = None  # of a frontend
    is_started: bool = False
    unacknowledged: int = 0  # model updates a frontend was sent and has not applied yet
    loading: int | None = None  # the model a worker is loading now
    to_load: list[int] = field(default_factory=list[int])

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send to the child; a child that no longer reads is killed, and so replaced."""
        try:
            self.control.send(message, fds)
        except BrokenPipeError:
            logger.debug("%s is gone already", self.name)
        except OSError as err:
            logger.error("%s does not listen to the supervisor (%s): killed", self.name, err)
            self.kill()

    def kill(self) -> None:
        """SIGKILL; nothing happens when it has ended already."""
        try:
            self.process.kill()
        except ProcessLookupError:
            logger.debug("%s has ended already", self.name)


async def spawn(
    name: str, kind: str, arena: Arena | None, on_message: Callable[[Child, Message], None]
) -> Child:
    """Start ``python -P -m service.KIND`` and listen to it; -P: not the current folder.

    Its end is known by ``child.process.wait()``.
    """
    ours, theirs = control_pair()
    ours.socket.settimeout(_SEND_TIMEOUT_S)
    fd = theirs.socket.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        f"service.{kind}",
        str(fd),
        pass_fds=(fd,),
        stdin=asyncio.subprocess.DEVNULL,
        env={**_environment(), **MALLOC_SETTINGS, metrics.PROCESS_VARIABLE: name},
        start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor only
    )
    theirs.close()
    child = Child(name, kind, process, ours, arena)
    loop = asyncio.get_running_loop()

    def read_message() -> None:
        received = ours.receive()
        if received is None:
            loop.remove_reader(ours.socket)
        else:
            on_message(child, received[0])

    loop.add_reader(ours.socket, read_message)
    return child


def _environment() -> dict[str, str]:
    """This process's environment, in which a child finds the same `service` package.

    PYTHONPATH changes only where the package lies in the current folder and nowhere else on the
    path: `python -m service` in a checkout that is not installed.
    """
    safe_path = sys.path if sys.flags.safe_path else sys.path[1:]  # [0] is the current folder
    found = PathFinder.find_spec("service", safe_path)
    if found is not None and found.origin == service.__file__:
        return dict(os.environ)
    paths = [str(Path(service.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def close_child(child: Child) -> None:
    """Close the control socket of a child that has ended, and remove its gauges."""
    asyncio.get_running_loop().remove_reader(child.control.socket)
    child.control.close()
    metrics.forget_process(child.name)
    if child.arena is not None:
        os.close(child.arena.fd)


def reserve_port(host: str, port: int) -> socket.socket:
    """Bind, but do not listen on, the port that all frontends will share (SO_REUSEPORT).

    The bound socket keeps the number while no frontend listens.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    # The probe does not set SO_REUSEPORT, so it notices a server that already has the port.
    with socket.socket(family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    reserved = socket.socket(family(host))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        reserved.bind((host, port))
    except OSError as err:
        if err.errno != errno.EADDRINUSE:
            raise
        # The probe found no server, so the port only has connections in TIME-WAIT. SO_REUSEADDR
        # ignores them. It is not set at first, because the probe of a second server would then not
        # notice this one while no frontend listens.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return reserved
