"""The client for asyncio: the same methods as ``Client``, awaited."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from functools import cached_property
from typing import Self

import grpc.aio

from sightline.answers import Classification, ModelStatus, Outcome, Task
from sightline.async_calls import AsyncCaller, batches_of, one_batch
from sightline.connection import DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TARGET, Connection, Tls
from sightline.errors import DeadlineExceeded
from sightline.images import Photo
from sightline.replies import are_ready, describe_unready, task_number
from sightline.requests import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_WINDOW,
    MAX_ITEMS_PER_REQUEST,
    Batch,
    BatchBuilder,
    InFlight,
    Question,
    only_answer,
    require_an_answer,
    selector,
)
from sightline.retry import DEFAULT_RETRY, DEFAULT_TIMEOUT_S, READY_POLL_S, Attempts, Retry
from sightline.v1.models_pb2 import GetModelRequest, ListModelsRequest


class AsyncClient:
    """Asks a Sightline server from one event loop, the one of its first call.

    Arguments, methods and errors are those of ``Client``, where they are described. Files are
    read off the event loop; a task that is cancelled cancels its call.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        tls: Tls | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        retries: Retry = DEFAULT_RETRY,
        default_timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._connection = Connection(target=target, tls=tls, max_message_bytes=max_message_bytes)
        self._retries = retries
        self._default_timeout_s = default_timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._channel.close()

    async def classify(
        self,
        photo: Photo,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> Classification:
        """Ask what one photo shows, as ``Client.classify``."""
        question = Question(
            model=model, version=version, label=label, top_k=top_k, score_threshold=score_threshold
        )
        batch = await one_batch(photo, self._builder(question, 1))
        return only_answer(await self._caller.ask(batch, self._timeout_s(timeout_s)))

    async def classify_many(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Outcome]:
        """Ask what each of many photos shows, as ``Client.classify_many``."""
        question = Question(
            model=model, version=version, label=label, top_k=top_k, score_threshold=score_threshold
        )
        limit_s, outcomes = self._timeout_s(timeout_s), list[Outcome]()
        async for batch in batches_of(photos, self._builder(question, MAX_ITEMS_PER_REQUEST)):
            outcomes += await self._caller.ask(batch, limit_s)
        return require_an_answer(outcomes)

    def classify_stream(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Ask about any number of photos, as ``Client.classify_stream``, with ``async for``."""
        question = Question(
            model=model, version=version, label=label, top_k=top_k, score_threshold=score_threshold
        )
        batches = batches_of(photos, self._builder(question, batch_size))
        return self._stream(batches, InFlight(window), self._timeout_s(timeout_s))

    async def models(
        self, *, task: Task | None = None, timeout_s: float | None = None
    ) -> list[ModelStatus]:
        """All models and versions the server knows, ready or not, ordered by name, then version."""
        request = ListModelsRequest(task=task_number(task))
        return await self._caller.models(request, self._timeout_s(timeout_s))

    async def model(
        self,
        name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelStatus:
        """One model, with the labels of its classes."""
        request = GetModelRequest(model=selector(name, version, label))
        return await self._caller.model(request, self._timeout_s(timeout_s))

    async def wait_until_ready(self, model: str | None = None, *, timeout_s: float = 60.0) -> None:
        """Return when the model may be asked, as ``Client.wait_until_ready``."""
        attempts = Attempts(self._retries, timeout_s)
        missing = f"no server answers at {self._connection.target}"
        try:
            while not are_ready(known := await self._known(model, attempts.remaining_s())):
                missing = describe_unready(known)
                await asyncio.sleep(READY_POLL_S)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"not ready within {timeout_s:g} s: {missing}") from error

    async def _stream(
        self, batches: AsyncIterator[Batch], in_flight: InFlight, timeout_s: float
    ) -> AsyncGenerator[Outcome, None]:
        # The caller is made here, when the loop runs, and not where the arguments are checked.
        async with aclosing(self._caller.stream(batches, in_flight, timeout_s)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def _known(self, model: str | None, timeout_s: float) -> list[ModelStatus]:
        """The model, or all models, as soon as a server can be reached at all."""
        if model is None:
            return await self._caller.models(ListModelsRequest(), timeout_s, wait_for_ready=True)
        named = GetModelRequest(model=selector(model))
        return [await self._caller.model(named, timeout_s, wait_for_ready=True)]

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # Not in __init__: it belongs to the running loop, and a client may be made outside of one.
        return self._connection.open_aio()

    @cached_property
    def _caller(self) -> AsyncCaller:
        return AsyncCaller(self._channel, self._retries)

    def _builder(self, question: Question, max_items: int) -> BatchBuilder:
        return BatchBuilder(
            question, max_items=max_items, max_message_bytes=self._connection.max_message_bytes
        )

    def _timeout_s(self, timeout_s: float | None) -> float:
        return self._default_timeout_s if timeout_s is None else timeout_s
