import math

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sightline
from sightline import Retry
from sightline.errors import ERROR_OF_STATUS
from sightline.retry import RETRYABLE, Attempts

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
ALL_RETRYABLE = sorted(RETRYABLE, key=lambda status: status.name)
FINAL = sorted(set(ERROR_OF_STATUS) - RETRYABLE, key=lambda status: status.name)


@pytest.mark.parametrize("status", ALL_RETRYABLE)
def test_a_call_is_made_again_while_the_server_is_away_or_full(client, script, fail, status):
    script.failures += [fail(status)] * 3

    assert client.classify(b"tabby", model="cats").best.name == "tabby"
    assert len(script.requests) == 4


@pytest.mark.parametrize("status", FINAL, ids=lambda status: status.name)
def test_no_other_failure_is_retried(client, script, fail, status):
    script.failures.append(fail(status))

    with pytest.raises(ERROR_OF_STATUS[status]):
        client.classify(b"tabby", model="cats")
    assert len(script.requests) == 1


def test_after_the_last_attempt_the_last_error_is_raised(client, script, fail):
    script.failures += [fail(UNAVAILABLE, f"failure {n}") for n in range(1, 9)]

    with pytest.raises(sightline.Unavailable, match="failure 4"):
        client.classify(b"tabby", model="cats")
    assert len(script.requests) == 4


def test_the_time_out_is_for_all_attempts_together(connect, target, script, fail):
    script.failures += [fail(UNAVAILABLE)] * 3

    with connect(target, retries=Retry(initial_backoff_s=0.1)) as client:
        client.classify(b"tabby", model="cats", timeout_s=9)

    # What the server was told it has. The pauses were 0.075 + 0.15 + 0.3 s or more, and gRPC
    # rounds to 0.01 s.
    assert 0 < script.deadlines_s[3] <= 9.01 - 0.525
    assert len(script.requests) == 4


def test_the_remaining_time_shrinks_with_the_clock():
    now_s = iter([100.0, 103.0, 111.0])
    attempts = Attempts(Retry(), 10, clock=lambda: next(now_s))

    assert attempts.remaining_s() == 7
    with pytest.raises(sightline.DeadlineExceeded):
        attempts.remaining_s()


def test_a_call_without_a_time_out_has_that_of_its_client(connect, target, script):
    with connect(target, default_timeout_s=7) as client:
        client.classify(b"tabby", model="cats")

    assert 0 < script.deadlines_s[0] <= 7


@pytest.mark.parametrize("key", ["retry-after-ms", "grpc-retry-pushback-ms"])
def test_a_server_that_wants_more_time_than_there_is_ends_the_call_with_its_reason(
    client, script, fail, key
):
    script.failures.append(fail(RESOURCE_EXHAUSTED, "queue is full", ((key, "60000"),)))

    with pytest.raises(sightline.Overloaded, match="queue is full") as caught:
        client.classify(b"tabby", model="cats", timeout_s=30)
    assert caught.value.retry_after_s == 60
    assert len(script.requests) == 1


def test_a_server_that_forbids_retries_is_not_called_again(client, script, fail):
    trailers = (("grpc-retry-pushback-ms", "-1"),)
    script.failures.append(fail(UNAVAILABLE, trailers=trailers))

    with pytest.raises(sightline.Unavailable):
        client.classify(b"tabby", model="cats")
    assert len(script.requests) == 1


def test_a_hint_that_is_no_number_is_ignored(client, script, fail):
    script.failures.append(fail(UNAVAILABLE, trailers=(("retry-after-ms", "soon"),)))

    client.classify(b"tabby", model="cats")
    assert len(script.requests) == 2


def test_an_unreachable_server_is_unavailable(connect):
    with (
        connect("localhost:1") as client,
        pytest.raises(sightline.Unavailable, match="refused"),
    ):
        client.classify(b"tabby", model="cats")


def overloaded(retry_after_s: float | None = None) -> sightline.Overloaded:
    return sightline.Overloaded("full", retry_after_s=retry_after_s)


def delays(retry: Retry, draw: float, timeout_s: float = math.inf) -> list[float]:
    attempts = Attempts(retry, timeout_s, clock=lambda: 0.0, draw=lambda: draw)
    return list(iter(lambda: attempts.delay_after(overloaded()), None))


def test_pauses_double_up_to_the_longest():
    retry = Retry(max_attempts=6, initial_backoff_s=1, max_backoff_s=5)

    assert delays(retry, draw=0.5) == [1, 2, 4, 5, 5]


@given(
    max_attempts=st.integers(1, 100),
    initial_s=st.floats(0, 10),
    longest_s=st.floats(10, 1000),
    draw=st.floats(0, 1),
)
def test_pauses_are_bounded_in_number_and_length(max_attempts, initial_s, longest_s, draw):
    retry = Retry(max_attempts=max_attempts, initial_backoff_s=initial_s, max_backoff_s=longest_s)

    pauses = delays(retry, draw)

    assert len(pauses) == max_attempts - 1
    assert all(0 <= pause <= 1.25 * longest_s for pause in pauses)
    assert pauses == sorted(pauses)


@given(timeout_s=st.floats(0, 10), draw=st.floats(0, 1))
def test_no_pause_outlasts_the_time_out_of_the_call(timeout_s, draw):
    assert all(pause < timeout_s for pause in delays(Retry(), draw, timeout_s))


@given(hint_s=st.floats(0, 1e6), draw=st.floats(0, 1))
def test_the_hint_of_the_server_is_the_shortest_pause(hint_s, draw):
    attempts = Attempts(Retry(), math.inf, draw=lambda: draw)

    assert attempts.delay_after(overloaded(hint_s)) >= hint_s


def test_a_message_that_is_too_large_is_not_sent_again():
    error = sightline.MessageTooLarge("too large", code=RESOURCE_EXHAUSTED)

    assert Attempts(Retry(), math.inf).delay_after(error) is None


def test_metadata_that_is_too_large_is_not_sent_again(client, script, fail):
    script.failures.append(
        fail(RESOURCE_EXHAUSTED, "received metadata size exceeds soft limit (9486 vs. 8192)")
    )

    with pytest.raises(sightline.MessageTooLarge, match="MAX_METADATA_BYTES"):
        client.classify(b"tabby", model="cats")
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "wrong", [{"max_attempts": 0}, {"initial_backoff_s": -1}, {"max_backoff_s": 0.1}]
)
def test_an_impossible_policy_is_refused(wrong):
    with pytest.raises(ValueError, match=r"at least 1|0 s or more"):
        Retry(**wrong)
