"""What shows that an option of gRPC has its effect: peers that behave in one way only."""

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc._cython.cygrpc as cygrpc

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING = 4, 6
_ACK = 1
ECHO = "/test.Echo/Echo"
SILENT = "/test.Echo/Silent"


def is_known_to_grpc(name: str) -> bool:
    """Whether gRPC's library has an argument of this name: others are ignored in silence."""
    return name.encode() + b"\0" in Path(cygrpc.__file__).read_bytes()


class EchoService:
    """Answers with the request; a silent stream is answered when it ends."""

    def __init__(self) -> None:
        self.calls = 0

    def add_to(self, server: grpc.Server) -> None:
        methods = {
            "Echo": grpc.unary_unary_rpc_method_handler(self._echo),
            "Silent": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Echo", methods),)
        )

    def _echo(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        self.calls += 1
        return request


class Http2Peer:
    """Accepts connections and counts them and their pings; answers no call.

    Args:
        closes: close each connection at once.
        greets: send the SETTINGS, so that the connection is ready.
        acknowledges: acknowledge pings.
    """

    def __init__(self, *, closes: bool, greets: bool, acknowledges: bool) -> None:
        self._closes, self._greets, self._acknowledges = closes, greets, acknowledges
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = self.pings = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):  # the client has closed it
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                if self._closes:
                    connection.close()
                    continue
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            if self._greets:
                connection.sendall(_frame(_SETTINGS, 0, b""))
            stream.read(len(_PREFACE))
            while head := stream.read(9):
                size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
                payload = stream.read(size)
                if flags & _ACK or not self._greets:
                    continue
                if kind == _SETTINGS:
                    connection.sendall(_frame(_SETTINGS, _ACK, b""))
                if kind == _PING:
                    self.pings += 1
                    if self._acknowledges:
                        connection.sendall(_frame(_PING, _ACK, payload))


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + bytes(4) + payload


def user_timeouts_ms(target: str) -> list[int]:
    """TCP_USER_TIMEOUT of this process's connections to an address."""
    port = int(target.rpartition(":")[2])
    found: list[int] = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # no socket, or not connected
            copy = os.dup(int(path.name))
            try:
                its = socket.socket(fileno=copy)
            except OSError:
                os.close(copy)
                continue
            with its:
                is_internet = its.family in (socket.AF_INET, socket.AF_INET6)
                if is_internet and its.getpeername()[1] == port:
                    found.append(its.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    return found


@contextmanager
def http2_peer(
    *, closes: bool = False, greets: bool = True, acknowledges: bool = True
) -> Iterator[Http2Peer]:
    peer = Http2Peer(closes=closes, greets=greets, acknowledges=acknowledges)
    try:
        yield peer
    finally:
        peer.close()


def failure(channel: grpc.Channel, timeout_s: float) -> tuple[grpc.StatusCode, float]:
    """How a silent stream ends, and after how many seconds."""
    began_s, hold = time.monotonic(), threading.Event()

    def nothing() -> Iterator[bytes]:
        hold.wait()
        yield from ()

    call = channel.stream_stream(SILENT)(nothing(), timeout=timeout_s)
    try:
        next(call)
    except grpc.RpcError as err:
        return err.code(), time.monotonic() - began_s
    finally:
        hold.set()
    raise AssertionError("a silent stream was answered")
