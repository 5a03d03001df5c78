"""How a ``Client`` makes its calls: attempts, batches, streams. Its twin is ``async_calls``.

What the two decide is not here but in ``retry``, ``requests`` and ``replies``; they only wait.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import grpc

from sightline.answers import Answer, ModelStatus, Outcome
from sightline.errors import InvalidInput, SightlineError, from_rpc_error
from sightline.exchange import Answers, Exchange
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


def batches_of(items: Iterable[object], builder: BatchBuilder[Answer]) -> Iterator[Batch[Answer]]:
    """Cut items into batches, lazily."""
    for given in items:
        if batch := builder.add(given):
            yield batch
    if batch := builder.rest():
        yield batch


class Caller:
    """Makes calls on one channel."""

    def __init__(self, channel: grpc.Channel, retries: Retry) -> None:
        self._retries = retries
        self._channel = channel

    def attempts(self, timeout_s: float) -> Attempts:
        """The attempts at something that may take so long, as the policy says."""
        return Attempts(self._retries, timeout_s)

    def call(
        self,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        timeout_s: float,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        """Make a call, again and again while the policy says so and time is left."""
        attempts = self.attempts(timeout_s)
        make = rpc.on(self._channel)
        while True:
            left_s = attempts.remaining_s()
            try:
                return make(request, timeout=left_s, wait_for_ready=wait_for_ready)
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                delay_s = attempts.delay_after(error)
                if delay_s is None:
                    raise error from rpc_error
            time.sleep(delay_s)

    def models(
        self, request: ListModelsRequest, timeout_s: float, *, wait_for_ready: bool = False
    ) -> list[ModelStatus]:
        """What the server knows."""
        reply = self.call(LIST_MODELS, request, timeout_s, wait_for_ready=wait_for_ready)
        return [read_model(status) for status in reply.models]

    def model(
        self, request: GetModelRequest, timeout_s: float, *, wait_for_ready: bool = False
    ) -> ModelStatus:
        """One of them."""
        reply = self.call(GET_MODEL, request, timeout_s, wait_for_ready=wait_for_ready)
        return read_model(reply.model)

    def ask(self, batch: Batch[Answer], timeout_s: float) -> list[Outcome[Answer]]:
        """The outcomes of a batch, in a call of its own."""
        if not batch.travelling:
            return batch.stayed()
        try:
            return batch.read(self.call(batch.question.rpc, batch.request, timeout_s))
        except InvalidInput as error:
            if len(batch.items) == 1:
                return batch.failed(error)
        # All were refused, with the status of the first: asked alone, each has its own reason.
        return [o for single in batch.singles() for o in self.ask(single, timeout_s)]

    def stream(
        self, batches: Iterator[Batch[Answer]], in_flight: InFlight[Answer], timeout_s: float
    ) -> Generator[Outcome[Answer], None, None]:
        """The outcomes of all batches, over as many streams as it takes."""
        attempts: Attempts | None = None
        while True:
            exchange = Exchange(in_flight.rpc.on(self._channel), timeout_s)
            try:
                yield from self._exchange(exchange, batches, in_flight, timeout_s)
                return
            except SightlineError as error:
                if attempts is None or exchange.has_answered:
                    attempts = self.attempts(timeout_s)
                delay_s = attempts.delay_after(error)
                if delay_s is None:
                    raise
            finally:
                exchange.close()
            time.sleep(delay_s)

    def _exchange(
        self,
        exchange: Exchange[Any, Any],
        batches: Iterator[Batch[Answer]],
        in_flight: InFlight[Answer],
        timeout_s: float,
    ) -> Iterator[Outcome[Answer]]:
        """Send ahead as far as the window goes, and yield what comes back, over one stream."""
        for message in in_flight.messages():
            exchange.send(message)
        while True:
            while in_flight.has_room and (batch := next(batches, None)):
                for message in in_flight.add(batch):
                    exchange.send(message)
            if not in_flight:
                break
            answer = exchange.receive() if in_flight.awaits_answer else None
            yield from self._settle(in_flight.pop(answer), answer, timeout_s)
        exchange.finish()

    def _settle(
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
            return batch.read(answer.response)
        if not request_alone(batch, error):
            return batch.failed(error)
        try:
            return self.ask(batch, timeout_s)
        except SightlineError as final:
            return batch.failed(final)

    def steps(
        self, request: PredictStreamRequest, timeout_s: float
    ) -> Answers[PredictStreamResponse]:
        """What the server continues a history with; each message awaited for ``timeout_s``."""
        return Answers(PREDICT_STREAM.on(self._channel)(request), timeout_s)

    def follow(self, timeout_s: float) -> Exchange[FollowRequest, FollowResponse]:
        """A stream of observations; each prediction awaited for ``timeout_s``."""
        return Exchange(FOLLOW.on(self._channel), timeout_s)
