import time
from collections.abc import Iterator
from typing import Any

import pytest

from service.frontend.call import Call
from service.frontend.dispatch.concurrency import ConcurrentRequests
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.endpoints.streams import answer_in_order
from service.frontend.errors import RunFailed
from service.frontend.sequence.follow import FollowStream
from service.ipc.arena import Arena


def requests() -> Iterator[Any]:
    yield 1
    raise ValueError("nobody has thought of this")


def a_call() -> Call:
    now_ns = time.monotonic_ns()
    return Call(
        *(now_ns + 10**10, now_ns, 10**10),
        on_end=lambda _: True,
        is_active=lambda: True,
        concurrent_requests=ConcurrentRequests(),
    )


def test_an_error_in_the_reader_of_a_stream_ends_the_stream() -> None:
    answers = answer_in_order(
        requests(),
        a_call(),
        window=4,
        submit=lambda request, _: request,
        answer=lambda _, submitted: submitted + 1,
        failure=lambda _, err: str(err),
        close=lambda _: None,
    )
    assert next(answers) == 2
    with pytest.raises(RunFailed):
        next(answers)


def test_an_error_in_the_reader_of_a_followed_stream_ends_the_stream() -> None:
    stream = FollowStream(
        Dispatcher(Arena.create(4096), ConcurrentRequests()), requests(), a_call(), idle_s=60
    )
    messages = stream.requests()
    assert next(messages) == 1
    with pytest.raises(RunFailed):
        next(messages)
