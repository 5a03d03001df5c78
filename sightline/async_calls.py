"""How an ``AsyncClient`` makes its calls: the twin of ``calls``, on an event loop."""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

from sightline.answers import Answer, ModelStatus, Outcome
from sightline.errors import InvalidInput, SightlineError, from_rpc_error
from sightline.exchange import AsyncAnswers, AsyncExchange
from sightline.replies import read_model
from sightline.requests import Batch, BatchBuilder, InFlight, request_alone
from sightline.retry import Attempts, Retry
from sightline.rpcs import (
    FOLLOW,
    GET_MODEL,
    LIST_MODELS,
    PREDICT_STREAM,
    Request,
    Response,
    UnaryRpc,
)
from sightline.v1.models_pb2 import GetModelRequest, ListModelsRequest
from sightline.v1.sequence_pb2 import (
    FollowRequest,
    FollowResponse,
    PredictStreamRequest,
    PredictStreamResponse,
)

Taken = TypeVar("Taken")


async def batches_of(
    items: Iterable[object] | AsyncIterable[object], builder: BatchBuilder[Answer]
) -> AsyncIterator[Batch[Answer]]:
    """Cut items into batches, lazily."""
    async for given in _each(items):
        if batch := await _off_the_loop(builder.add, given, builder):
            yield batch
    if batch := builder.rest():
        yield batch


async def one_batch(given: object, builder: BatchBuilder[Answer]) -> Batch[Answer]:
    """A batch of this item alone; a file is read off the event loop."""
    return await _off_the_loop(builder.one, given, builder)


async def _off_the_loop(
    take: Callable[[object], Taken], given: object, builder: BatchBuilder[Any]
) -> Taken:
    if builder.reads_files and isinstance(given, str | os.PathLike):
        return await asyncio.to_thread(take, cast(object, given))
    return take(given)


async def _read(batch: Batch[Answer], response: Any) -> list[Outcome[Answer]]:
    """What the response says; masks are unpacked off the event loop."""
    if batch.question.is_slow_to_read:
        return await asyncio.to_thread(batch.read, response)
    return batch.read(response)


async def _each(
    items: Iterable[object] | AsyncIterable[object],
) -> AsyncIterator[object]:
    if isinstance(items, AsyncIterable):
        async for given in items:
            yield given
    else:
        for given in items:
            yield given


class AsyncCaller:
    """Makes calls on one channel."""

    def __init__(self, channel: grpc.aio.Channel, retries: Retry) -> None:
        self._retries = retries
        self._channel = channel

    def attempts(self, timeout_s: float) -> Attempts:
        """The attempts at something that may take so long, as the policy says."""
        return Attempts(self._retries, timeout_s)

    async def call(
        self,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        timeout_s: float,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        """Make a call, again and again while the policy says so and time is left."""
        attempts = self.attempts(timeout_s)
        make = rpc.on_aio(self._channel)
        while True:
            left_s = attempts.remaining_s()
            try:
                return await make(request, timeout=left_s, wait_for_ready=wait_for_ready)
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
        reply = await self.call(LIST_MODELS, request, timeout_s, wait_for_ready=wait_for_ready)
        return [read_model(status) for status in reply.models]

    async def model(
        self, request: GetModelRequest, timeout_s: float, *, wait_for_ready: bool = False
    ) -> ModelStatus:
        """One of them."""
        reply = await self.call(GET_MODEL, request, timeout_s, wait_for_ready=wait_for_ready)
        return read_model(reply.model)

    async def ask(self, batch: Batch[Answer], timeout_s: float) -> list[Outcome[Answer]]:
        """The outcomes of a batch, in a call of its own."""
        if not batch.travelling:
            return batch.stayed()
        try:
            return await _read(batch, await self.call(batch.question.rpc, batch.request, timeout_s))
        except InvalidInput as error:
            if len(batch.items) == 1:
                return batch.failed(error)
        # All were refused, with the status of the first: asked alone, each has its own reason.
        return [o for single in batch.singles() for o in await self.ask(single, timeout_s)]

    async def stream(
        self, batches: AsyncIterator[Batch[Answer]], in_flight: InFlight[Answer], timeout_s: float
    ) -> AsyncGenerator[Outcome[Answer], None]:
        """The outcomes of all batches, over as many streams as it takes."""
        attempts: Attempts | None = None
        while True:
            exchange = AsyncExchange(in_flight.rpc.on_aio(self._channel), timeout_s)
            try:
                async for outcome in self._exchange(exchange, batches, in_flight, timeout_s):
                    yield outcome
                return
            except SightlineError as error:
                if attempts is None or exchange.has_answered:
                    attempts = self.attempts(timeout_s)
                delay_s = attempts.delay_after(error)
                if delay_s is None:
                    raise
            finally:
                exchange.close()
            await asyncio.sleep(delay_s)

    async def _exchange(
        self,
        exchange: AsyncExchange[Any, Any],
        batches: AsyncIterator[Batch[Answer]],
        in_flight: InFlight[Answer],
        timeout_s: float,
    ) -> AsyncIterator[Outcome[Answer]]:
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
        batch: Batch[Answer],
        answer: Any | None,
        timeout_s: float,
    ) -> list[Outcome[Answer]]:
        """The outcomes of a batch: its answer, or what a call of its own brings."""
        if answer is None:
            return batch.stayed()
        error = batch.error_in(answer)
        if error is None:
            return await _read(batch, answer.response)
        if not request_alone(batch, error):
            return batch.failed(error)
        try:
            return await self.ask(batch, timeout_s)
        except SightlineError as final:
            return batch.failed(final)

    def steps(
        self, request: PredictStreamRequest, timeout_s: float
    ) -> AsyncAnswers[PredictStreamRequest, PredictStreamResponse]:
        """What the server continues a history with; each message awaited for ``timeout_s``."""
        return AsyncAnswers(PREDICT_STREAM.on_aio(self._channel)(request), timeout_s)

    def follow(self, timeout_s: float) -> AsyncExchange[FollowRequest, FollowResponse]:
        """A stream of observations; each prediction awaited for ``timeout_s``."""
        return AsyncExchange(FOLLOW.on_aio(self._channel), timeout_s)
