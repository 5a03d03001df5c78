"""What the verbs of an ``AsyncClient`` have in common: the twin of ``verbs``."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from functools import cached_property

import grpc.aio

from sightline.answers import Answer, Outcome
from sightline.async_calls import AsyncCaller, batches_of, one_batch
from sightline.connection import Connection
from sightline.errors import SightlineError
from sightline.questions import Question, StreamQuestion
from sightline.requests import (
    MAX_ITEMS_PER_REQUEST,
    Batch,
    BatchBuilder,
    InFlight,
    concerns_all,
    only_answer,
    require_an_answer,
)
from sightline.retry import Retry


class AsyncVerbs:
    """The base of ``AsyncPhotoVerbs`` and ``AsyncSequenceVerbs``."""

    _connection: Connection
    _retries: Retry
    _default_timeout_s: float

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # Not in __init__: it belongs to the running loop, and a client may be made outside of one.
        return self._connection.open_aio()

    @cached_property
    def _caller(self) -> AsyncCaller:
        return AsyncCaller(self._channel, self._retries)

    async def _one(
        self, question: Question[Answer], given: object, timeout_s: float | None
    ) -> Answer:
        batch = await one_batch(given, self._builder(question, 1))
        return only_answer(await self._caller.ask(batch, self._timeout_s(timeout_s)))

    async def _many(
        self,
        question: Question[Answer],
        items: Iterable[object] | AsyncIterable[object],
        timeout_s: float | None,
    ) -> list[Outcome[Answer]]:
        limit_s, outcomes = self._timeout_s(timeout_s), list[Outcome[Answer]]()
        end: SightlineError | None = None
        async for batch in batches_of(items, self._builder(question, MAX_ITEMS_PER_REQUEST)):
            try:
                outcomes += batch.failed(end) if end else await self._caller.ask(batch, limit_s)
            except SightlineError as error:  # the others' answers must not go with it
                outcomes += batch.failed(error)
                end = error if concerns_all(error) else None
        return require_an_answer(outcomes)

    def _stream(
        self,
        question: StreamQuestion[Answer],
        items: Iterable[object] | AsyncIterable[object],
        batch_size: int,
        window: int,
        timeout_s: float | None,
    ) -> AsyncGenerator[Outcome[Answer], None]:
        batches = batches_of(items, self._builder(question, batch_size))
        return self._outcomes(batches, InFlight(question, window), self._timeout_s(timeout_s))

    async def _outcomes(
        self, batches: AsyncIterator[Batch[Answer]], in_flight: InFlight[Answer], timeout_s: float
    ) -> AsyncGenerator[Outcome[Answer], None]:
        # The caller is made here, when the loop runs, and not where the arguments are checked.
        async with aclosing(self._caller.stream(batches, in_flight, timeout_s)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    def _builder(self, question: Question[Answer], max_items: int) -> BatchBuilder[Answer]:
        return BatchBuilder(
            question, max_items=max_items, max_message_bytes=self._connection.max_message_bytes
        )

    def _timeout_s(self, timeout_s: float | None) -> float:
        return self._default_timeout_s if timeout_s is None else timeout_s
