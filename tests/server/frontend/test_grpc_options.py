"""Every option of the gRPC server has its effect."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from service.frontend.interceptors import CallInterceptor
from service.frontend.request_metrics import RequestMetrics
from service.frontend.server import create_server, open_port, server_options
from service.settings import ServerSettings
from tests.support.grpc_options import ECHO, EchoService, failure, is_known_to_grpc

MIB = 1 << 20
FAST = {"keepalive_time_ms": 500, "http2.max_pings_without_data": 0}


@contextmanager
def echo_server(**settings: Any) -> Iterator[str]:
    server_settings = ServerSettings(host="127.0.0.1", **settings)
    server = create_server(server_settings, CallInterceptor(60, RequestMetrics()))
    EchoService().add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@contextmanager
def plain_server(options: list[tuple[str, int]]) -> Iterator[str]:
    """With these options only."""
    server = grpc.server(futures.ThreadPoolExecutor(2), options=options)
    EchoService().add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def channel(target: str, **options: int) -> grpc.Channel:
    return grpc.insecure_channel(target, [(f"grpc.{k}", v) for k, v in options.items()])


def test_grpc_knows_the_name_of_every_option() -> None:
    names = [name for name, _ in server_options(ServerSettings())]
    assert [name for name in names if not is_known_to_grpc(name)] == []
    assert not is_known_to_grpc("grpc.http2.min_recv_ping_interval_without_data_ms")


def test_messages_may_be_as_large_as_the_settings_say() -> None:
    """Both ways; gRPC's own limit for what is received is 4 MiB."""
    with (
        echo_server(max_message_bytes=6 * MIB) as target,
        channel(target, max_receive_message_length=-1) as caller,
    ):
        echo = caller.unary_unary(ECHO)
        assert len(echo(bytes(6 * MIB))) == 6 * MIB
        with pytest.raises(grpc.RpcError) as caught:
            echo(bytes(6 * MIB + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "eceived message larger" in (caught.value.details() or "")


def test_no_larger_message_is_sent() -> None:
    sent = [each for each in server_options(ServerSettings()) if "send" in each[0]]
    assert sent == [("grpc.max_send_message_length", ServerSettings().max_message_bytes)]
    with (
        plain_server([("grpc.max_send_message_length", MIB)]) as target,
        channel(target) as caller,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            caller.unary_unary(ECHO)(bytes(MIB + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "ent message larger" in (caught.value.details() or "")


def test_two_frontends_share_a_port() -> None:
    settings = ServerSettings(host="127.0.0.1")
    assert ("grpc.so_reuseport", 1) in server_options(settings)
    interceptor = CallInterceptor(60, RequestMetrics())
    with echo_server() as target:
        port = int(target.rpartition(":")[2])
        second = create_server(settings, interceptor)
        open_port(second, settings, port)
        second.stop(0).wait()
        alone = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
        with pytest.raises(RuntimeError):
            alone.add_insecure_port(target)
        alone.stop(0).wait()


def test_a_silent_stream_outlives_the_pings_of_its_client() -> None:
    """By default a server sends GOAWAY at the third ping, here after 5 s."""
    with echo_server() as target, channel(target, **FAST) as caller:
        assert failure(caller, timeout_s=7)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
