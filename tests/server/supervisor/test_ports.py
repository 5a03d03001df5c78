"""The gRPC port is reserved: from servers that have ended, and against servers that run."""

import socket
from pathlib import Path

import pytest

from service.supervisor.child import reserve_port
from tests.support.artifacts import write_artifact
from tests.support.running import running_server

HOST = "127.0.0.1"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client sends first, and empty settings."""


def leave_in_time_wait(*options: int) -> int:
    """The port of a listener that accepted a connection, closed it first, and is gone."""
    with socket.socket() as listener:
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((HOST, 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            served, _ = listener.accept()
            served.close()
            assert client.recv(1) == b""
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    "options",
    [
        (socket.SO_REUSEADDR,),
        (socket.SO_REUSEADDR, socket.SO_REUSEPORT),
    ],
)
def test_a_port_whose_connections_are_in_time_wait_can_be_reserved(
    options: tuple[int, ...],
) -> None:
    port = leave_in_time_wait(*options)
    with reserve_port(HOST, port) as reserved:
        assert reserved.getsockname() == (HOST, port)
        with socket.socket() as frontend:
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                frontend.setsockopt(socket.SOL_SOCKET, option, 1)
            frontend.bind((HOST, port))
            frontend.listen()
            socket.create_connection((HOST, port)).close()


def test_a_port_on_which_no_frontend_listens_yet_cannot_be_reserved_twice() -> None:
    with reserve_port(HOST, 0) as reserved, pytest.raises(OSError, match="in use"):
        reserve_port(HOST, reserved.getsockname()[1])


def test_a_port_reserved_after_time_wait_cannot_be_reserved_twice() -> None:
    port = leave_in_time_wait(socket.SO_REUSEADDR)
    with reserve_port(HOST, port), pytest.raises(OSError, match="in use"):
        reserve_port(HOST, port)


def test_a_server_restarts_on_its_port_right_after_a_drain(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with running_server(tmp_path) as server:
        server.wait_until_ready()
        with socket.create_connection((HOST, server.grpc_port)) as client:
            client.sendall(HTTP2_PREFACE)
            assert client.recv(1 << 16)
            assert server.stop() == 0
            while client.recv(1 << 16):  # until the server's end has closed
                pass
    ports = ["--grpc-port", str(server.grpc_port), "--http-port", str(server.http_port)]
    with running_server(tmp_path, *ports) as again:
        again.wait_until_ready()
        assert again.grpc_port == server.grpc_port
