"""A gRPC server on loopback, for services whose answers are written out."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Protocol

import grpc


class Service(Protocol):
    def add_to(self, server: grpc.Server) -> None: ...


@contextmanager
def serving(
    *services: Service, credentials: grpc.ServerCredentials | None = None, **options: int
) -> Iterator[str]:
    """Serve them at the address that is given."""
    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=[(f"grpc.{k}", v) for k, v in options.items()]
    )
    for service in services:
        service.add_to(server)
    if credentials:
        port = server.add_secure_port("localhost:0", credentials)
    else:
        port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(0).wait()
