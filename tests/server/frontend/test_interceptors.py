import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from service.frontend import errors
from service.frontend.endpoints.streams import answer_in_order
from service.frontend.errors import CallCancelled, DeadlineExpired, Overloaded, ServiceError
from service.frontend.interceptors import CallInterceptor
from service.frontend.request_metrics import RequestMetrics

METHOD = "/sightline.v1.ClassificationService/Classify"


class Aborted(Exception):
    pass


class Context:
    """What gRPC hands to a servicer."""

    def __init__(self, remaining_s: float | None = None) -> None:
        self.remaining_s = remaining_s
        self.is_left = False
        self.trailers: tuple[tuple[str, str], ...] = ()

    def time_remaining(self) -> float | None:
        return self.remaining_s

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return True

    def is_active(self) -> bool:
        return not self.is_left

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailers = metadata

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)


class Details:
    method = METHOD


def intercepted(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    handler = grpc.unary_unary_rpc_method_handler(behaviour)
    return (
        CallInterceptor(60, RequestMetrics())
        .intercept_service(lambda _: handler, Details())
        .unary_unary
    )


def test_an_expired_deadline_is_refused_before_it_costs_anything() -> None:
    asked: list[object] = []
    with pytest.raises(Aborted) as caught:
        intercepted(lambda request, _: asked.append(request))("request", Context(0.0))
    assert caught.value.args[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert asked == []


def test_a_call_without_a_deadline_gets_one() -> None:
    calls: list[Any] = []
    intercepted(lambda _, context: calls.append(context.call))("request", Context())
    assert calls[0].deadline_ns - calls[0].received_ns == 60e9


@pytest.mark.parametrize(
    "error",
    [each for each in vars(errors).values() if inspect.isclass(each) and each is not ServiceError],
)
def test_every_error_is_sent_with_its_status(error: type[ServiceError]) -> None:
    def fail(request: object, context: object) -> None:
        raise error("what to do")

    assert isinstance(error.code, grpc.StatusCode)
    with pytest.raises(Aborted) as caught:
        intercepted(fail)("request", Context())
    assert caught.value.args == (error.code, "what to do")


def test_an_unknown_error_is_not_shown_to_the_caller() -> None:
    def fail(request: object, context: object) -> None:
        raise RuntimeError("secret path")

    with pytest.raises(Aborted) as caught:
        intercepted(fail)("request", Context())
    assert caught.value.args[0] is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.args[1]


def test_an_overloaded_server_says_when_to_retry() -> None:
    def fail(request: object, context: object) -> None:
        raise Overloaded("full")

    context = Context()
    with pytest.raises(Aborted):
        intercepted(fail)("request", context)
    assert dict(context.trailers)["retry-after-ms"].isdecimal()


MODEL = 7


def stream_behind(interceptor: CallInterceptor, requests: Iterator[int]) -> Any:
    """A bulk stream through the interceptor; each answer is the number of concurrent requests.

    The first answer comes when 6 have been asked, or the last.
    """
    is_crowded = threading.Event()

    def submit(request: int, call: Any) -> int:
        call.count_for(MODEL)
        if request >= 5:
            is_crowded.set()
        return request

    def answer(_: int, __: int) -> int:
        assert is_crowded.wait(10)
        return round(interceptor.concurrent_requests.estimate(MODEL))

    def behaviour(arrived: Iterator[int], context: Any) -> Iterator[int]:
        return answer_in_order(
            arrived,
            context.call,
            window=8,
            submit=submit,
            answer=answer,
            failure=lambda _, err: pytest.fail(str(err)),
            close=lambda _: None,
        )

    class StreamDetails:
        method = METHOD + "Stream"

    handler = grpc.stream_stream_rpc_method_handler(behaviour)
    wrapped = interceptor.intercept_service(lambda _: handler, StreamDetails())
    return wrapped.stream_stream(requests, Context())


def test_an_idle_stream_is_not_counted() -> None:
    interceptor = CallInterceptor(60, RequestMetrics())
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    answers = stream_behind(interceptor, iter(asked.get, 0))
    for _ in range(3):
        asked.put(5)
        assert next(answers) == 1
    assert not interceptor.concurrent_requests.of(MODEL)
    asked.put(0)
    assert list(answers) == []


def test_messages_in_flight_on_a_stream_are_counted_until_it_ends() -> None:
    interceptor = CallInterceptor(60, RequestMetrics())
    answers = stream_behind(interceptor, iter(range(6)))
    assert next(answers) == 6
    assert len(list(answers)) == 5
    assert not interceptor.concurrent_requests.of(MODEL)
    left = stream_behind(interceptor, iter(range(100)))
    next(left)
    left.close()
    deadline = time.monotonic() + 10
    while interceptor.concurrent_requests.of(MODEL) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not interceptor.concurrent_requests.of(MODEL)


def test_a_call_is_checked_for_its_deadline_and_for_cancellation() -> None:
    calls: list[Any] = []
    context = Context()
    intercepted(lambda _, context: calls.append(context.call))("request", context)
    (call,) = calls
    call.check()
    own = call.for_request(lambda _: True)
    own.deadline_ns = 0
    with pytest.raises(DeadlineExpired):
        own.check()
    context.is_left = True
    with pytest.raises(CallCancelled):
        call.check()
