import inspect
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from service import errors
from service.errors import Overloaded, ServiceError
from service.interceptors import Door
from service.tally import Tally

METHOD = "/sightline.v1.ClassificationService/Classify"


class Aborted(Exception):
    pass


class Context:
    """What gRPC hands to a servicer."""

    def __init__(self, remaining_s: float | None = None) -> None:
        self.remaining_s = remaining_s
        self.trailers: tuple[tuple[str, str], ...] = ()

    def time_remaining(self) -> float | None:
        return self.remaining_s

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return True

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailers = metadata

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)


class Details:
    method = METHOD


def behind_the_door(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    handler = grpc.unary_unary_rpc_method_handler(behaviour)
    return Door(60, Tally()).intercept_service(lambda _: handler, Details()).unary_unary


def test_an_expired_deadline_is_refused_before_it_costs_anything() -> None:
    asked: list[object] = []
    with pytest.raises(Aborted) as caught:
        behind_the_door(lambda request, _: asked.append(request))("request", Context(0.0))
    assert caught.value.args[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert asked == []


def test_a_call_without_a_deadline_gets_one() -> None:
    calls: list[Any] = []
    behind_the_door(lambda _, context: calls.append(context.call))("request", Context())
    assert calls[0].deadline_ns - calls[0].received_ns == 60e9


@pytest.mark.parametrize(
    "error",
    [each for each in vars(errors).values() if inspect.isclass(each) and each is not ServiceError],
)
def test_every_error_is_told_with_its_status(error: type[ServiceError]) -> None:
    def fail(request: object, context: object) -> None:
        raise error("what to do")

    assert isinstance(error.code, grpc.StatusCode)
    with pytest.raises(Aborted) as caught:
        behind_the_door(fail)("request", Context())
    assert caught.value.args == (error.code, "what to do")


def test_an_unknown_error_is_not_shown_to_the_caller() -> None:
    def fail(request: object, context: object) -> None:
        raise RuntimeError("secret path")

    with pytest.raises(Aborted) as caught:
        behind_the_door(fail)("request", Context())
    assert caught.value.args[0] is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.args[1]


def test_an_overloaded_server_says_when_to_retry() -> None:
    def fail(request: object, context: object) -> None:
        raise Overloaded("full")

    context = Context()
    with pytest.raises(Aborted):
        behind_the_door(fail)("request", context)
    assert dict(context.trailers)["retry-after-ms"].isdecimal()
