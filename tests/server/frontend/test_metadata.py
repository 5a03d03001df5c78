"""The limit on metadata, as clients meet it: nothing between the largest and too large."""

from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import sightline
from service.frontend.interceptors import CallInterceptor
from service.frontend.request_metrics import RequestMetrics
from service.frontend.server import create_server
from service.settings import ServerSettings
from sightline.errors import from_rpc_error

HEALTH = "/grpc.health.v1.Health/Check"


def ask(port: int, metadata_bytes: int) -> int:
    """The health that the server answers."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(
            HEALTH,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        metadata = (("x-any", "a" * metadata_bytes),)
        return check(health_pb2.HealthCheckRequest(), metadata=metadata).status


@pytest.fixture(params=[None, 64 << 10])
def limited(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """A port, and the largest metadata it takes."""
    settings = ServerSettings(grpc_port=0)
    if request.param:
        settings = ServerSettings(grpc_port=0, max_metadata_bytes=request.param)
    server = create_server(settings, CallInterceptor(60, RequestMetrics()))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port, settings.max_metadata_bytes
    server.stop(0).wait()


def test_metadata_below_the_limit_is_never_refused(limited: tuple[int, int]) -> None:
    port, limit = limited
    for _ in range(20):  # gRPC refuses by chance where its two limits differ
        assert ask(port, limit - 1000) == health_pb2.HealthCheckResponse.SERVING


def test_metadata_above_the_limit_is_refused_as_too_large(limited: tuple[int, int]) -> None:
    port, limit = limited
    with pytest.raises(grpc.RpcError) as caught:
        ask(port, limit + 1)
    error = from_rpc_error(caught.value)
    assert isinstance(error, sightline.MessageTooLarge)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "SIGHTLINE_SERVER__MAX_METADATA_BYTES" in str(error)
