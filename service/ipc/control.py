"""Control messages between the supervisor and its children: small JSON packets.

Each child has one SOCK_SEQPACKET socket to the supervisor. When it closes, each side knows that the
other side is gone.
"""

import dataclasses
import json
import signal
import socket
from dataclasses import dataclass, field
from typing import Any, get_args

_MAX_PACKET_BYTES = 1 << 17
_MAX_FDS = 4


@dataclass(frozen=True, slots=True)
class Start:
    """Supervisor to child, the first message: the child's name and the settings."""

    name: str  # such as "frontend-0" or "worker-1"
    settings: dict[str, Any]
    device: str = ""  # workers only
    intra_op_threads: int = 0  # workers only
    port: int = 0  # frontends only


@dataclass(frozen=True, slots=True)
class Connect:
    """Supervisor to child: a peer. Descriptors: the doorbell; for workers also the arena."""

    peer: str


@dataclass(frozen=True, slots=True)
class Load:
    """Supervisor to worker: load this artifact."""

    model_id: int
    path: str
    artifact_sha256: str
    best_batch_size: int = 0  # from an earlier calibration on this kind of device; 0: calibrate


@dataclass(frozen=True, slots=True)
class Loaded:
    """Worker to supervisor: the model reproduced its golden outputs here and is ready."""

    model_id: int
    best_batch_size: int
    placement: dict[str, int]  # nodes of the graph by execution provider
    max_absolute: float
    load_s: float


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Worker to supervisor: this model cannot be served here."""

    model_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class ModelUpdate:
    """Supervisor to frontend: the current state of one version of a model."""

    model_id: int
    name: str
    version: int
    path: str
    artifact_sha256: str
    task: str  # empty when the manifest could not be read
    state: str  # "loading", "ready" or "failed"
    reason: str = ""
    version_labels: list[str] = field(default_factory=list[str])
    workers: list[str] = field(default_factory=list[str])  # those where it is ready
    devices: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Serve:
    """Supervisor to frontend, after the first model updates: open the port."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Frontend to supervisor: one model update is applied."""


@dataclass(frozen=True, slots=True)
class Started:
    """Child to supervisor: it is up and receives messages; a frontend also accepts calls."""

    name: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Supervisor to child: accept nothing new, finish what is in flight, then end."""


Message = (
    Start
    | Connect
    | Load
    | Loaded
    | LoadFailed
    | ModelUpdate
    | Serve
    | Acknowledged
    | Started
    | Drain
)
_TYPES: dict[str, type[Message]] = {each.__name__: each for each in get_args(Message)}


class ControlSocket:
    """One end of the connection between the supervisor and a child."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send one message, with copies of the descriptors.

        Raises:
            OSError: the other side is gone.
        """
        packet = json.dumps([type(message).__name__, dataclasses.asdict(message)]).encode()
        socket.send_fds(self.socket, [packet], fds)

    def receive(self) -> tuple[Message, list[int]] | None:
        """Wait for one message; None when the other side is gone."""
        try:
            packet, fds, _, _ = socket.recv_fds(self.socket, _MAX_PACKET_BYTES, _MAX_FDS)
        except ConnectionError:
            return None
        if not packet:
            return None
        kind, content = json.loads(packet)
        return _TYPES[kind](**content), fds

    def close(self) -> None:
        """Close this end."""
        self.socket.close()


def meet_supervisor(fd: int) -> tuple[ControlSocket, Start, list[int]]:
    """Begin as a child: ignore signals, and receive the name and the settings.

    Raises:
        SystemExit: the supervisor is already gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = ControlSocket(socket.socket(fileno=fd))
    received = control.receive()
    if received is None:
        raise SystemExit
    start, fds = received
    assert isinstance(start, Start), "the supervisor's first message is Start"
    return control, start, fds


def control_pair() -> tuple[ControlSocket, ControlSocket]:
    """Two connected ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ControlSocket(ours), ControlSocket(theirs)
