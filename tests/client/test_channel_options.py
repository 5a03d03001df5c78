"""Every option of the client's channel has its effect; times are shortened."""

import time
from typing import Any

import grpc
import pytest

from sightline.connection import Connection
from tests.support.grpc_options import (
    ECHO,
    EchoService,
    failure,
    http2_peer,
    is_known_to_grpc,
    user_timeouts_ms,
)
from tests.support.loopback import serving

MIB = 1 << 20
SHORT = {"keepalive_timeout_ms": 7_000}


def options_of(max_message_bytes: int = 64 * MIB) -> dict[str, Any]:
    connection = Connection(target="x", tls=None, max_message_bytes=max_message_bytes)
    return dict(connection.channel_options())


def channel(target: str, own: Any = None, **changed: Any) -> grpc.Channel:
    """With the client's options, some of them changed; None removes one."""
    options = (own or options_of()) | {f"grpc.{key}": value for key, value in changed.items()}
    unknown = options.keys() - options_of().keys()
    assert not unknown  # a test of an option that the client does not set
    return grpc.insecure_channel(target, [each for each in options.items() if each[1] is not None])


def test_grpc_knows_the_name_of_every_option() -> None:
    assert [name for name in options_of() if not is_known_to_grpc(name)] == []


def test_a_silent_peer_is_detected() -> None:
    times = {"keepalive_time_ms": 300, "http2.ping_timeout_ms": 400}
    with http2_peer(acknowledges=False) as peer:
        with channel(peer.target, **times) as caller:
            code, seconds = failure(caller, timeout_s=10)
        assert (code, 0.6 < seconds < 5) == (grpc.StatusCode.UNAVAILABLE, True)
        for name in times:
            with channel(peer.target, **(times | {name: 60_000})) as caller:
                assert failure(caller, timeout_s=2)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    own = options_of()
    assert own["grpc.keepalive_time_ms"] + own["grpc.http2.ping_timeout_ms"] <= 25_000


@pytest.mark.parametrize(("changed", "expected_ms"), [({}, 10_000), (SHORT, 7_000)])
def test_a_machine_that_is_gone_is_detected(changed: dict[str, int], expected_ms: int) -> None:
    """The system closes a connection whose bytes nobody acknowledges."""
    with http2_peer() as peer, channel(peer.target, **changed) as caller:
        grpc.channel_ready_future(caller).result(timeout=10)
        assert user_timeouts_ms(peer.target) == [expected_ms]


@pytest.mark.parametrize(("changed", "is_pinged_on"), [({}, True), ({"x": None}, False)])
def test_a_silent_stream_is_pinged_as_long_as_it_lasts(
    changed: dict[str, None], is_pinged_on: bool
) -> None:
    removed = {"http2.max_pings_without_data": None} if changed else {}
    with (
        http2_peer() as peer,
        channel(peer.target, keepalive_time_ms=200, **removed) as caller,
    ):
        failure(caller, timeout_s=5)  # gRPC sends one ping a second at most
        assert (peer.pings > 3) == is_pinged_on, peer.pings


def connections(seconds: float, *, closes: bool, **changed: int) -> int:
    """How often a client tries to connect to a peer that never gets ready."""
    with http2_peer(closes=closes, greets=False) as peer:
        with channel(peer.target, **changed) as caller:
            ready = grpc.channel_ready_future(caller)
            time.sleep(seconds)
            ready.cancel()
        return peer.connections


def test_a_restarted_server_is_found_again_quickly() -> None:
    first, longest = "initial_reconnect_backoff_ms", "max_reconnect_backoff_ms"
    both = connections(2.5, closes=True, **{first: 100, longest: 150})
    without_first = connections(2.5, closes=True, **{first: 2_000, longest: 2_000})
    without_longest = connections(2.5, closes=True, **{first: 100, longest: 60_000})
    assert without_first <= 3 < without_longest < both - 3
    own = options_of()
    assert (own[f"grpc.{first}"], own[f"grpc.{longest}"]) == (200, 5_000)


def test_an_attempt_to_connect_is_given_up_in_time() -> None:
    fast = {"initial_reconnect_backoff_ms": 100, "max_reconnect_backoff_ms": 100}
    assert connections(2, closes=False, min_reconnect_backoff_ms=300, **fast) >= 3
    assert connections(2, closes=False, min_reconnect_backoff_ms=20_000, **fast) == 1


def test_calls_are_balanced_over_all_addresses() -> None:
    first, second = EchoService(), EchoService()
    with serving(first) as one, serving(second) as other:
        ports = [each.rpartition(":")[2] for each in (one, other)]
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        with channel(target) as caller:
            grpc.channel_ready_future(caller).result(timeout=10)
            ends_s = time.monotonic() + 10
            while not (first.calls and second.calls) and time.monotonic() < ends_s:
                caller.unary_unary(ECHO)(b"")
        assert first.calls
        assert second.calls
        first.calls = second.calls = 0
        with channel(target, service_config=None) as caller:
            for _ in range(20):
                caller.unary_unary(ECHO)(b"")
        assert 0 in (first.calls, second.calls)


@pytest.mark.parametrize(("changed", "expected"), [({}, 2), ({"use_local_subchannel_pool": 0}, 1)])
def test_two_clients_have_two_connections(changed: dict[str, int], expected: int) -> None:
    with (
        http2_peer() as peer,
        channel(peer.target, **changed) as one,
        channel(peer.target, **changed) as other,
    ):
        for each in (one, other):
            grpc.channel_ready_future(each).result(timeout=10)
        assert peer.connections == expected


def test_messages_may_be_as_large_as_the_client_says() -> None:
    """Both ways; gRPC's own limit for what is received is 4 MiB."""
    with (
        serving(EchoService(), max_receive_message_length=-1) as target,
        channel(target, options_of(6 * MIB)) as caller,
        channel(target, options_of(6 * MIB), max_send_message_length=-1) as sender,
    ):
        assert len(caller.unary_unary(ECHO)(bytes(6 * MIB))) == 6 * MIB
        for each, says in ((caller, "ent message larger"), (sender, "eceived message larger")):
            with pytest.raises(grpc.RpcError) as caught:
                each.unary_unary(ECHO)(bytes(6 * MIB + 1))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert says in (caught.value.details() or "")
