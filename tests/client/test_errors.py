import pickle

import grpc
import pytest

import sightline.errors
from sightline.errors import ERROR_OF_STATUS, SightlineError, from_item_error

FAILURES = [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK]


def subclasses(cls: type) -> set[type]:
    return {cls}.union(*(subclasses(each) for each in cls.__subclasses__()))


def test_every_status_has_its_error():
    assert set(ERROR_OF_STATUS) == set(FAILURES)


def test_every_error_but_the_base_is_raised_for_a_status():
    own = subclasses(SightlineError) - {SightlineError, sightline.MessageTooLarge}
    assert set(ERROR_OF_STATUS.values()) == own


def test_every_error_is_drawn_in_the_tree_and_exported():
    for error in subclasses(SightlineError):
        assert error.__name__ in (sightline.errors.__doc__ or "")
        assert error.__name__ in sightline.__all__


@pytest.mark.parametrize("status", FAILURES, ids=lambda status: status.name)
def test_a_status_raises_its_error_with_the_message_of_the_server(
    connect, target, script, fail, status
):
    script.failures.append(fail(status, "the server's words"))

    with (
        connect(target, retries=sightline.Retry(max_attempts=1)) as client,
        pytest.raises(ERROR_OF_STATUS[status], match="the server's words") as caught,
    ):
        client.classify(b"tabby", model="cats")

    assert caught.value.code is status
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize("status", FAILURES, ids=lambda status: status.name)
def test_the_status_of_an_item_becomes_the_same_error(status):
    error = from_item_error(status.value[0], "why")

    assert type(error) is ERROR_OF_STATUS[status]
    assert (error.code, str(error)) == (status, "why")


@pytest.mark.parametrize("number", [0, 17, 1 << 31])
def test_an_unknown_status_number_is_a_server_error(number):
    assert type(from_item_error(number, "why")) is sightline.ServerError


def test_a_call_with_no_time_left_is_not_made(client, script):
    with pytest.raises(sightline.DeadlineExceeded, match="timeout_s"):
        client.classify(b"tabby", model="cats", timeout_s=0)
    assert not script.requests


def test_an_expired_deadline_names_the_option(client, script):
    script.answers_nothing.set()

    with pytest.raises(sightline.DeadlineExceeded, match="timeout_s") as caught:
        client.classify(b"tabby", model="cats", timeout_s=0.1)
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_errors_travel_between_processes():
    error = sightline.Overloaded("full", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=2)

    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy)) == (sightline.Overloaded, "full")
    assert (copy.code, copy.retry_after_s) == (error.code, 2)
