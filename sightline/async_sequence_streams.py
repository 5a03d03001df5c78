"""Steps as they are made, and predictions as things are observed: twin of ``sequence_streams``."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

from sightline.arrivals import Arrivals
from sightline.async_calls import AsyncCaller
from sightline.continuations import Prediction, Step
from sightline.errors import Cancelled, SightlineError
from sightline.exchange import AsyncAnswers, AsyncExchange
from sightline.histories import HistoryLike
from sightline.observations import Observations, as_retryable
from sightline.v1.sequence_pb2 import (
    FollowRequest,
    FollowResponse,
    History,
    PredictStreamRequest,
    PredictStreamResponse,
)


class AsyncStepStream(Arrivals, AsyncIterator[Step]):
    """The steps of one continuation, as they are made; ended early by ``close``."""

    def __init__(
        self, caller: Callable[[], AsyncCaller], request: PredictStreamRequest, timeout_s: float
    ) -> None:
        super().__init__()
        self._caller = caller
        self._request = request
        self._timeout_s = timeout_s
        self._answers: AsyncAnswers[PredictStreamRequest, PredictStreamResponse] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def __anext__(self) -> Step:
        """The next step.

        Raises:
            StopAsyncIteration: it has ended; ``finish_reason`` says why.
            SightlineError: the stream is broken. It is opened again only before its first step:
                a sampled continuation could not go on as it began.
        """
        while (step := self.pop()) is None:
            if self._is_closed:
                raise StopAsyncIteration
            self.put(await self._receive())
            if self.finish_reason is not None:
                await self._finish()
        return step

    async def close(self) -> None:
        """Give up what is not made yet; what has arrived can still be taken."""
        self._is_closed = True
        if self._answers is not None:
            self._answers.close()

    async def _finish(self) -> None:
        if self._answers is not None:
            await self._answers.finish()
        await self.close()

    async def _receive(self) -> PredictStreamResponse:
        attempts = self._caller().attempts(self._timeout_s)
        while True:
            if self._answers is None:
                self._answers = self._caller().steps(self._request, self._timeout_s)
            try:
                return await self._answers.receive()
            except SightlineError as error:
                may_repeat = not self._answers.has_answered
                delay_s = attempts.delay_after(as_retryable(error)) if may_repeat else None
                if delay_s is None:
                    await self.close()
                    raise
                self._answers.close()
                self._answers = None
            await asyncio.sleep(delay_s)


class AsyncFollow:
    """A stream of observations, each answered by what is expected next; for one task."""

    def __init__(
        self, caller: Callable[[], AsyncCaller], observations: Observations, timeout_s: float
    ) -> None:
        self._caller = caller
        self._observations = observations
        self._timeout_s = timeout_s
        self._exchange: AsyncExchange[FollowRequest, FollowResponse] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None:
            await self.close()
        else:  # do not wait for the server's farewell
            self._hang_up()

    async def observe(self, observed: HistoryLike) -> Prediction:
        """Say what was observed since the last call; returns what is expected next.

        Args:
            observed: one or more steps, in the terms of ``Client.predict``.

        Raises:
            SightlineError: there is no prediction, and the stream is at its end. ``Unavailable``
                with the code ABORTED: its state is lost; with ``resume=True`` this is mended here.
            TypeError, ValueError: it is no observation.
        """
        history = self._observations.read(observed)
        attempts = self._caller().attempts(self._timeout_s)
        while True:
            try:
                return self._observations.predicted(history, await self._ask(history))
            except SightlineError as error:
                self._hang_up()
                is_final = self._observations.is_lost_for_good()
                delay_s = None if is_final else attempts.delay_after(as_retryable(error))
                if delay_s is None:
                    self._is_closed = is_final
                    raise
            await asyncio.sleep(delay_s)

    async def close(self) -> None:
        """End the stream; the server forgets its state."""
        self._is_closed = True
        if self._exchange is not None:
            await self._exchange.finish()
        self._hang_up()

    async def _ask(self, history: History) -> FollowResponse:
        if self._is_closed:
            raise Cancelled("this stream has ended: open another with client.follow(...)")
        message = self._observations.message(history, is_first=self._exchange is None)
        if self._exchange is None:
            self._exchange = self._caller().follow(self._timeout_s)
        self._exchange.send(message)
        return await self._exchange.receive()

    def _hang_up(self) -> None:
        """Give the stream up; the next observation would open another."""
        if self._exchange is not None:
            self._exchange.close()
        self._exchange = None
