import asyncio
import threading
from itertools import count, islice

import grpc
import pytest

import sightline
from sightline import AsyncClient, ItemFailed

OK = grpc.StatusCode.OK
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def photos(number: int) -> list[bytes]:
    return [str(n).encode() for n in range(number)]


def names(outcomes) -> list[str]:
    return [outcome.best.name for outcome in outcomes]


def test_outcomes_come_in_the_order_of_the_images(client, script):
    outcomes = client.classify_stream(photos(100), model="cats", batch_size=8, window=3)

    assert names(outcomes) == [str(n) for n in range(100)]
    assert [len(request.images) for request in script.requests] == [8] * 12 + [4]
    assert (script.streams, script.ended_streams) == (1, 1)


def test_images_are_read_ahead_only_as_far_as_the_window(client, script):
    taken = []

    def endless():
        for n in count():
            taken.append(n)
            yield str(n).encode()

    outcomes = client.classify_stream(endless(), model="cats", batch_size=4, window=3)
    assert taken == []
    assert names(islice(outcomes, 1)) == ["0"]
    assert len(taken) == 12
    assert names(islice(outcomes, 4)) == ["1", "2", "3", "4"]
    assert len(taken) == 16
    outcomes.close()


def test_a_stream_that_is_left_early_is_cancelled(client, script):
    outcomes = client.classify_stream(photos(1000), model="cats", batch_size=1, window=2)
    assert names(islice(outcomes, 3)) == ["0", "1", "2"]
    outcomes.close()

    assert len(script.requests) < 10
    assert client.classify(b"tabby", model="cats").best.name == "tabby"  # the client lives on


def test_no_images_have_no_outcomes(client):
    assert list(client.classify_stream([], model="cats")) == []


def test_unreadable_images_keep_their_place(client, script, tmp_path):
    given = [b"first", b"bad one", tmp_path / "absent", b"", *[tmp_path / "absent"] * 2, b"last"]

    outcomes = list(client.classify_stream(given, model="cats", batch_size=2))

    assert [isinstance(outcome, ItemFailed) for outcome in outcomes] == [False, *[True] * 5, False]
    assert names([outcomes[0], outcomes[-1]]) == ["first", "last"]
    assert [len(request.images) for request in script.requests] == [2, 1]


def test_a_message_that_fails_for_good_does_not_end_the_stream(client, script, fail):
    script.failures += [None, fail(grpc.StatusCode.INTERNAL, "internal error")]

    outcomes = list(client.classify_stream(photos(6), model="cats", batch_size=2))

    assert names(outcomes[:2] + outcomes[4:]) == ["0", "1", "4", "5"]
    assert [type(o.error) for o in outcomes[2:4]] == [sightline.ServerError] * 2
    assert script.streams == 1


@pytest.mark.parametrize("status", [UNAVAILABLE, RESOURCE_EXHAUSTED])
def test_a_message_refused_for_load_is_retried_in_its_place(client, script, fail, status):
    script.failures += [None, fail(status)]

    outcomes = client.classify_stream(photos(8), model="cats", batch_size=2, window=1)

    assert names(outcomes) == [str(n) for n in range(8)]
    assert script.streams == 1
    assert len(script.deadlines_s) == 1  # by one call of its own


def test_a_message_that_stays_refused_fails_only_its_images(client, script, fail):
    script.failures += [fail(RESOURCE_EXHAUSTED)] * 5  # on the stream, and four calls

    outcomes = list(client.classify_stream(photos(4), model="cats", batch_size=2, window=1))

    assert [type(o.error) for o in outcomes[:2]] == [sightline.Overloaded] * 2
    assert names(outcomes[2:]) == ["2", "3"]


def test_images_that_fail_together_each_have_their_own_reason(client, script, fail):
    script.failures.append(fail(grpc.StatusCode.INVALID_ARGUMENT, "bad a is no image"))

    outcomes = client.classify_stream([b"bad a", b"bad b"], model="cats")

    assert [o.message for o in outcomes] == ["bad a is no image", "bad b is no image"]


@pytest.mark.parametrize("status", [UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, OK])
def test_a_stream_that_the_server_ends_is_opened_again(client, script, fail, status):
    script.failures += [None, None, fail(status, breaks=True), None, fail(status, breaks=True)]

    outcomes = client.classify_stream(photos(40), model="cats", batch_size=4, window=3)

    assert names(outcomes) == [str(n) for n in range(40)]
    assert script.streams == 3


def test_a_stream_that_keeps_breaking_raises_its_error(client, script, fail):
    script.failures += [None, *[fail(UNAVAILABLE, "going down", breaks=True)] * 20]

    outcomes = client.classify_stream(photos(8), model="cats", batch_size=4, window=1)

    assert names(islice(outcomes, 4)) == ["0", "1", "2", "3"]
    with pytest.raises(sightline.Unavailable, match="going down"):
        next(outcomes)
    assert script.streams == 4  # the one that had answered, and three more


def test_a_stream_that_may_not_be_opened_raises_at_once(client, script, fail):
    script.failures.append(fail(grpc.StatusCode.UNAUTHENTICATED, breaks=True))

    with pytest.raises(sightline.Unauthenticated):
        list(client.classify_stream(photos(1), model="cats"))
    assert script.streams == 1


def test_a_server_that_does_not_answer_is_not_awaited_for_ever(client, script):
    script.answers_nothing.set()

    with pytest.raises(sightline.DeadlineExceeded, match=r"within 0\.1 s"):
        list(client.classify_stream(photos(1), model="cats", timeout_s=0.1))
    assert script.streams == 1


def test_an_answer_out_of_order_is_a_server_error(client, script):
    def renumber(response) -> None:
        response.id += 1

    script.alter = renumber
    with pytest.raises(sightline.ServerError, match="answered message 1 when 0 was next"):
        list(client.classify_stream(photos(1), model="cats"))


def test_an_error_in_the_iterable_of_the_caller_reaches_the_caller(client):
    def faulty():
        yield b"tabby"
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(client.classify_stream(faulty(), model="cats", batch_size=1, window=1))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"window": 0}])
def test_an_impossible_window_is_refused(client, wrong):
    with pytest.raises(ValueError, match="or more"):
        client.classify_stream([], model="cats", **wrong)


def test_threads_may_share_a_client(target):
    with sightline.Client(target) as client:
        results: dict[int, list[str]] = {}

        def work(n: int) -> None:
            own = [f"{n}-{k}".encode() for k in range(20)]
            results[n] = names(client.classify_stream(own, model="cats", batch_size=3))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert results == {n: [f"{n}-{k}" for k in range(20)] for n in range(4)}


def test_an_asynchronous_source_feeds_an_asynchronous_stream(target):
    async def source():
        for photo in photos(10):
            await asyncio.sleep(0)
            yield photo

    async def scenario() -> list[str]:
        async with AsyncClient(target) as client:
            stream = client.classify_stream(source(), model="cats", batch_size=4)
            many = await client.classify_many(source(), model="cats")
            return names([outcome async for outcome in stream]) + names(many)

    assert asyncio.run(scenario()) == [str(n) for n in range(10)] * 2


def test_a_cancelled_task_cancels_its_call(target, script):
    script.answers_nothing.set()

    async def scenario() -> None:
        async with AsyncClient(target) as client:
            stream = client.classify_stream(photos(1), model="cats")
            task = asyncio.ensure_future(anext(stream))
            await asyncio.to_thread(script.was_asked.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # The server was told: its handler, which reads until the call ends, has ended.
            assert await asyncio.to_thread(script.stream_ended.wait, 20)

    asyncio.run(scenario())


def test_an_async_client_may_be_made_before_the_loop_runs(target):
    client = AsyncClient(target)

    async def scenario() -> str:
        async with client:
            return (await client.classify(b"tabby", model="cats")).best.name

    assert asyncio.run(scenario()) == "tabby"
