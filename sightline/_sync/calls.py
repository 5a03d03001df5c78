# Generated from sightline/_async/calls.py by `make twins`: edit that file.

"""How a client makes its calls: attempts, batches and streams.

The decisions are in ``sightline.retry`` and ``sightline.requests.batches``; this module waits.
"""

from collections.abc import Generator, Iterator
from typing import Any

import grpc

from sightline._sync.glue import read, sleep
from sightline._sync.transport import BidirectionalStream, ResponseStream, Transport
from sightline.errors import InvalidInput, SightlineError, from_rpc_error
from sightline.requests.batches import Batch, InFlight, request_alone
from sightline.results.models import ModelStatus
from sightline.results.outcomes import Answer, Outcome
from sightline.results.read_models import read_model
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


class Caller:
    """Makes calls over one transport, and repeats them as the retry policy says."""

    def __init__(self, transport: Transport, retries: Retry) -> None:
        self._transport = transport
        self._retries = retries

    def attempts(self, timeout_s: float) -> Attempts:
        """The attempts at something that may take ``timeout_s``."""
        return Attempts(self._retries, timeout_s)

    def call(
        self,
        rpc: UnaryRpc[Request, Response],
        request: Request,
        timeout_s: float,
        *,
        wait_for_ready: bool = False,
    ) -> Response:
        """Make a call, and repeat it while the policy says so and time is left."""
        attempts = self.attempts(timeout_s)
        make = self._transport.unary(rpc)
        while True:
            left_s = attempts.remaining_s()
            try:
                return make(request, timeout=left_s, wait_for_ready=wait_for_ready)
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                delay_s = attempts.delay_after(error)
                if delay_s is None:
                    raise error from rpc_error
            sleep(delay_s)

    def models(
        self, request: ListModelsRequest, timeout_s: float, *, wait_for_ready: bool = False
    ) -> list[ModelStatus]:
        """The models that the server knows."""
        reply = self.call(LIST_MODELS, request, timeout_s, wait_for_ready=wait_for_ready)
        return [read_model(status) for status in reply.models]

    def model(
        self, request: GetModelRequest, timeout_s: float, *, wait_for_ready: bool = False
    ) -> ModelStatus:
        """One model."""
        reply = self.call(GET_MODEL, request, timeout_s, wait_for_ready=wait_for_ready)
        return read_model(reply.model)

    def ask(self, batch: Batch[Answer], timeout_s: float) -> list[Outcome[Answer]]:
        """The outcomes of a batch, in a call of its own."""
        if not batch.sent:
            return batch.unsent()
        try:
            return read(batch, self.call(batch.query.rpc, batch.request, timeout_s))
        except InvalidInput as error:
            if len(batch.items) == 1:
                return batch.failed(error)
        # All were refused, with the status of the first: asked alone, each has its own reason.
        return [o for single in batch.singles() for o in self.ask(single, timeout_s)]

    def stream(
        self, batches: Iterator[Batch[Answer]], in_flight: InFlight[Answer], timeout_s: float
    ) -> Generator[Outcome[Answer]]:
        """The outcomes of all batches, over one stream or several."""
        attempts: Attempts | None = None
        while True:
            stream = self._transport.stream(in_flight.rpc, timeout_s)
            try:
                yield from self._exchange(stream, batches, in_flight, timeout_s)
                return
            except SightlineError as error:
                if attempts is None or stream.has_answered:
                    attempts = self.attempts(timeout_s)
                delay_s = attempts.delay_after(error)
                if delay_s is None:
                    raise
            finally:
                stream.close()
            sleep(delay_s)

    def _exchange(
        self,
        stream: BidirectionalStream[Any, Any],
        batches: Iterator[Batch[Answer]],
        in_flight: InFlight[Answer],
        timeout_s: float,
    ) -> Iterator[Outcome[Answer]]:
        """Send ahead as far as the window allows, and yield the outcomes, over one stream."""
        for message in in_flight.messages():
            stream.send(message)
        while True:
            while in_flight.has_room and (batch := next(batches, None)):
                for message in in_flight.add(batch):
                    stream.send(message)
            if not in_flight:
                break
            answer = stream.receive() if in_flight.awaits_answer else None
            yield from self._settle(in_flight.pop(answer), answer, timeout_s)
        stream.finish()

    def _settle(
        self, batch: Batch[Answer], answer: Any | None, timeout_s: float
    ) -> list[Outcome[Answer]]:
        """The outcomes of a batch: from its answer, or from a call of its own."""
        if answer is None:
            return batch.unsent()
        error = batch.error_in(answer)
        if error is None:
            return read(batch, answer.response)
        if not request_alone(batch, error):
            return batch.failed(error)
        try:
            return self.ask(batch, timeout_s)
        except SightlineError as final:
            return batch.failed(final)

    def steps(
        self, request: PredictStreamRequest, timeout_s: float
    ) -> ResponseStream[PredictStreamResponse]:
        """The continuation of a history; each message is awaited for ``timeout_s``."""
        return self._transport.server_stream(PREDICT_STREAM, request, timeout_s)

    def follow(self, timeout_s: float) -> BidirectionalStream[FollowRequest, FollowResponse]:
        """A stream of observations; each prediction is awaited for ``timeout_s``."""
        return self._transport.stream(FOLLOW, timeout_s)
