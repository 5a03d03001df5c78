"""Where the server is: address, TLS, and the options of the gRPC channel."""

import json
from dataclasses import dataclass
from pathlib import Path

import grpc

MIB = 1 << 20
DEFAULT_TARGET = "localhost:8001"
DEFAULT_MAX_MESSAGE_BYTES = 64 * MIB
"""Largest request or answer: sixteen times gRPC's own default, and the server's default."""
_LARGEST_MESSAGE_BYTES = (1 << 31) - 1  # gRPC's own limit
_SMALLEST_MESSAGE_BYTES = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Encrypts the connection, and authenticates its ends. All files are PEM."""

    root_certificates: Path | str | None = None
    """Certificate authorities for the server; None means the public ones that gRPC ships."""
    client_certificate: Path | str | None = None
    """Certificate of the caller (mutual TLS); it needs ``client_key``."""
    client_key: Path | str | None = None

    def __post_init__(self) -> None:
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("client_certificate and client_key go together: set both or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.root_certificates),
            private_key=_read(self.client_key),
            certificate_chain=_read(self.client_certificate),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the server is and how to talk to it."""

    target: str
    tls: Tls | None
    max_message_bytes: int

    def __post_init__(self) -> None:
        if not _SMALLEST_MESSAGE_BYTES <= self.max_message_bytes <= _LARGEST_MESSAGE_BYTES:
            raise ValueError(
                f"max_message_bytes is {_SMALLEST_MESSAGE_BYTES:,} to {_LARGEST_MESSAGE_BYTES:,},"
                f" not {self.max_message_bytes:,}"
            )

    def channel_options(self) -> list[tuple[str, int | str]]:
        """The options of the gRPC channel."""
        return [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # A silent peer is detected within 25 s of a call, less than the default time-out, so
            # that a retry still fits. The server permits every ping; while idle none is sent.
            ("grpc.keepalive_time_ms", 15_000),
            # A peer that hangs does not acknowledge the ping; a machine that is gone does not even
            # acknowledge the bytes (TCP_USER_TIMEOUT).
            ("grpc.http2.ping_timeout_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # By default only two pings follow each other while a stream is silent.
            ("grpc.http2.max_pings_without_data", 0),
            # A restarted server is found again quickly: gRPC's own pauses are 1 s to 120 s.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            # How long one attempt to connect may take, by default 20 s.
            ("grpc.min_reconnect_backoff_ms", 5_000),
            # By default all calls go to the first address. This balances over all addresses of a
            # name, such as a headless Kubernetes service.
            ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
            # Two clients have two connections, so they can reach two frontends on one port.
            ("grpc.use_local_subchannel_pool", 1),
        ]


def _read(path: Path | str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
