import pytest

from service.frontend.dispatch.concurrency import Callers
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.errors import InvalidInput, Overloaded
from service.ipc.arena import Arena

MS = 1_000_000


def test_answered_callers_are_forgotten_by_the_clock_and_not_by_calls() -> None:
    now_ns = 0
    callers = Callers(lambda: now_ns)
    here = callers.of(0)
    here.update(range(64))
    assert callers.count(0) == 64
    here.clear()
    assert callers.count(0) == 64  # they may ask again at once
    now_ns = 10 * MS
    assert callers.count(0) == 32
    now_ns = 10_000 * MS  # and nobody has called in between
    assert callers.count(0) < 1
    here.add("another")
    assert callers.count(0) == 1


def test_callers_of_another_model_are_not_counted_as_concurrent() -> None:
    callers = Callers(lambda: 0)
    callers.of(0).update("abc")
    assert callers.count(0) == 3
    assert callers.count(1) == 0


def test_a_request_larger_than_the_whole_arena_is_not_told_to_retry() -> None:
    dispatcher = Dispatcher(Arena.create(4096), Callers())
    with pytest.raises(InvalidInput, match=r"channel\.arena_bytes"):
        dispatcher.allocate(4097)
    dispatcher.allocate(4096)
    with pytest.raises(Overloaded):
        dispatcher.allocate(1)
