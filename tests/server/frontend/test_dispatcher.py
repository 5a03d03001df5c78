import pytest

from service.frontend.dispatch.concurrency import ConcurrentRequests
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.errors import InvalidInput, Overloaded
from service.ipc.arena import Arena

MS = 1_000_000


def test_answered_callers_are_forgotten_by_the_clock_and_not_by_calls() -> None:
    now_ns = 0
    concurrent = ConcurrentRequests(lambda: now_ns)
    here = concurrent.of(0)
    here.update(range(64))
    assert concurrent.estimate(0) == 64
    here.clear()
    assert concurrent.estimate(0) == 64  # they may ask again at once
    now_ns = 10 * MS
    assert concurrent.estimate(0) == 32
    now_ns = 10_000 * MS  # and nobody has called in between
    assert concurrent.estimate(0) < 1
    here.add("another")
    assert concurrent.estimate(0) == 1


def test_callers_of_another_model_are_not_counted_as_concurrent() -> None:
    concurrent = ConcurrentRequests(lambda: 0)
    concurrent.of(0).update("abc")
    assert concurrent.estimate(0) == 3
    assert concurrent.estimate(1) == 0


def test_a_request_larger_than_the_whole_arena_is_not_told_to_retry() -> None:
    dispatcher = Dispatcher(Arena.create(4096), ConcurrentRequests())
    with pytest.raises(InvalidInput, match=r"channel\.arena_bytes"):
        dispatcher.allocate(4097)
    dispatcher.allocate(4096)
    with pytest.raises(Overloaded):
        dispatcher.allocate(1)
