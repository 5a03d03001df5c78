"""How an ``AsyncClient`` makes its calls: the twin of ``calls``, on an event loop."""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable

import grpc
import grpc.aio

from sightline.answers import ModelStatus, Outcome
from sightline.errors import InvalidInput, SightlineError, from_rpc_error
from sightline.exchange import AsyncExchange
from sightline.images import Photo
from sightline.replies import read_model
from sightline.requests import Batch, BatchBuilder, InFlight, request_alone
from sightline.retry import Attempts, Retry
from sightline.rpcs import (
    CLASSIFY,
    CLASSIFY_STREAM,
    GET_MODEL,
    LIST_MODELS,
    Request,
    Response,
)
from sightline.v1.classification_pb2 import ClassifyStreamResponse
from sightline.v1.models_pb2 import GetModelRequest, ListModelsRequest


async def batches_of(
    photos: Iterable[Photo] | AsyncIterable[Photo], builder: BatchBuilder
) -> AsyncIterator[Batch]:
    """Cut photos into batches, lazily."""
    async for photo in _each(photos):
        if batch := await _add(builder, photo):
            yield batch
    if batch := builder.rest():
        yield batch


async def one_batch(photo: Photo, builder: BatchBuilder) -> Batch:
    """A batch of this photo alone; a file is read off the event loop."""
    if isinstance(photo, str | os.PathLike):
        return await asyncio.to_thread(builder.one, photo)
    return builder.one(photo)


async def _add(builder: BatchBuilder, photo: Photo) -> Batch | None:
    if isinstance(photo, str | os.PathLike):
        return await asyncio.to_thread(builder.add, photo)
    return builder.add(photo)


async def _each(photos: Iterable[Photo] | AsyncIterable[Photo]) -> AsyncIterator[Photo]:
    if isinstance(photos, AsyncIterable):
        async for photo in photos:
            yield photo
    else:
        for photo in photos:
            yield photo


class AsyncCaller:
    """Makes calls on one channel."""

    def __init__(self, channel: grpc.aio.Channel, retries: Retry) -> None:
        self._retries = retries
        self._classify = CLASSIFY.on_aio(channel)
        self._classify_stream = CLASSIFY_STREAM.on_aio(channel)
        self._list_models = LIST_MODELS.on_aio(channel)
        self._get_model = GET_MODEL.on_aio(channel)

    async def call(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_s: float,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        """Make a call, again and again while the policy says so and time is left."""
        attempts = Attempts(self._retries, timeout_s)
        while True:
            left_s = attempts.remaining_s()
            try:
                return await rpc(request, timeout=left_s, wait_for_ready=wait_for_ready)
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                delay_s = attempts.delay_after(error)
                if delay_s is None:
                    raise error from rpc_error
            await asyncio.sleep(delay_s)

    async def models(
        self, request: ListModelsRequest, timeout_s: float, *, wait_for_ready: bool = False
    ) -> list[ModelStatus]:
        """What the server knows."""
        reply = await self.call(
            self._list_models, request, timeout_s, wait_for_ready=wait_for_ready
        )
        return [read_model(status) for status in reply.models]

    async def model(
        self, request: GetModelRequest, timeout_s: float, *, wait_for_ready: bool = False
    ) -> ModelStatus:
        """One of them."""
        reply = await self.call(self._get_model, request, timeout_s, wait_for_ready=wait_for_ready)
        return read_model(reply.model)

    async def ask(self, batch: Batch, timeout_s: float) -> list[Outcome]:
        """The outcomes of a batch, in a call of its own."""
        if not batch.images:
            return batch.stayed()
        try:
            return batch.read(await self.call(self._classify, batch.request, timeout_s))
        except InvalidInput as error:
            if len(batch.items) == 1:
                return batch.failed(error)
        # All were refused, with the status of the first: asked alone, each has its own reason.
        return [o for single in batch.singles() for o in await self.ask(single, timeout_s)]

    async def stream(
        self, batches: AsyncIterator[Batch], in_flight: InFlight, timeout_s: float
    ) -> AsyncGenerator[Outcome, None]:
        """The outcomes of all batches, over as many streams as it takes."""
        attempts: Attempts | None = None
        while True:
            exchange = AsyncExchange(self._classify_stream, timeout_s)
            try:
                async for outcome in self._exchange(exchange, batches, in_flight, timeout_s):
                    yield outcome
                return
            except SightlineError as error:
                if attempts is None or exchange.has_answered:
                    attempts = Attempts(self._retries, timeout_s)
                delay_s = attempts.delay_after(error)
                if delay_s is None:
                    raise
            finally:
                exchange.close()
            await asyncio.sleep(delay_s)

    async def _exchange(
        self,
        exchange: AsyncExchange,
        batches: AsyncIterator[Batch],
        in_flight: InFlight,
        timeout_s: float,
    ) -> AsyncIterator[Outcome]:
        """Send ahead as far as the window goes, and yield what comes back, over one stream."""
        for message in in_flight.messages():
            exchange.send(message)
        while True:
            while in_flight.has_room and (batch := await anext(batches, None)):
                for message in in_flight.add(batch):
                    exchange.send(message)
            if not in_flight:
                break
            answer = await exchange.receive() if in_flight.awaits_answer else None
            for outcome in await self._settle(in_flight.pop(answer), answer, timeout_s):
                yield outcome
        await exchange.finish()

    async def _settle(
        self,
        batch: Batch,
        answer: ClassifyStreamResponse | None,
        timeout_s: float,
    ) -> list[Outcome]:
        """The outcomes of a batch: its answer, or what a call of its own brings."""
        if answer is None:
            return batch.stayed()
        error = batch.error_in(answer)
        if error is None:
            return batch.read(answer.response)
        if not request_alone(batch, error):
            return batch.failed(error)
        try:
            return await self.ask(batch, timeout_s)
        except SightlineError as final:
            return batch.failed(final)
