import time
from collections.abc import Iterator

import pytest

from service.errors import RunFailed
from service.interceptors import Call
from service.streams import answer_in_order


def test_an_error_in_the_reader_of_a_stream_ends_the_stream() -> None:
    def requests() -> Iterator[int]:
        yield 1
        raise ValueError("nobody has thought of this")

    now_ns = time.monotonic_ns()
    answers = answer_in_order(
        requests(),
        Call(now_ns + 10**10, now_ns, 10**10, lambda _: True),
        window=4,
        ask=lambda request, _: request,
        answer=lambda _, asked: asked + 1,
        failure=lambda _, err: str(err),
        close=lambda _: None,
    )
    assert next(answers) == 2
    with pytest.raises(RunFailed):
        next(answers)
