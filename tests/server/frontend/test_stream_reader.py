import threading
from collections.abc import Iterator

from service.frontend.stream_reader import StreamReader


def reader_of(requests: Iterator[int], discarded: list[int]) -> StreamReader[int]:
    return StreamReader(
        requests, 2, prepare=lambda request: request, discard=discarded.append, name="reader"
    )


def wait_for_items_of_an_ended_call() -> list[int]:
    def requests() -> Iterator[int]:
        reader.end()
        yield from ()

    reader = reader_of(requests(), [])
    return list(reader.items(idle_s=5))


def test_the_end_of_a_call_wakes_the_thread_that_waits_for_an_item() -> None:
    for _ in range(50):
        assert wait_for_items_of_an_ended_call() == []


def test_an_item_that_is_not_answered_is_discarded() -> None:
    discarded: list[int] = []
    has_read = threading.Event()

    def requests() -> Iterator[int]:
        yield 1
        yield 2
        has_read.set()

    reader = reader_of(requests(), discarded)
    items = reader.items(idle_s=5)
    assert next(items) == 1
    assert has_read.wait(5)
    reader.close()
    assert discarded == [2]
