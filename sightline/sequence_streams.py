"""Steps as they are made, and predictions as things are observed; twin of the async module."""

import time
from collections.abc import Iterator
from typing import Self

from sightline.arrivals import Arrivals
from sightline.calls import Caller
from sightline.continuations import Prediction, Step
from sightline.errors import Cancelled, SightlineError
from sightline.exchange import Answers, Exchange
from sightline.histories import HistoryLike
from sightline.observations import Observations, as_retryable
from sightline.v1.sequence_pb2 import (
    FollowRequest,
    FollowResponse,
    History,
    PredictStreamRequest,
    PredictStreamResponse,
)


class StepStream(Arrivals, Iterator[Step]):
    """The steps of one continuation, as they are made; ended early by ``close`` or ``with``."""

    def __init__(self, caller: Caller, request: PredictStreamRequest, timeout_s: float) -> None:
        super().__init__()
        self._caller = caller
        self._request = request
        self._timeout_s = timeout_s
        self._answers: Answers[PredictStreamResponse] | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # left by `break`: the server need not make the rest

    def __next__(self) -> Step:
        """The next step.

        Raises:
            StopIteration: it has ended; ``finish_reason`` says why.
            SightlineError: the stream is broken. It is opened again only before its first step:
                a sampled continuation could not go on as it began.
        """
        while (step := self.pop()) is None:
            if self._is_closed:
                raise StopIteration
            self.put(self._receive())
            if self.finish_reason is not None:
                self._finish()
        return step

    def close(self) -> None:
        """Give up what is not made yet; what has arrived can still be taken."""
        self._is_closed = True
        if self._answers is not None:
            self._answers.close()

    def _finish(self) -> None:
        if self._answers is not None:
            self._answers.finish()
        self.close()

    def _receive(self) -> PredictStreamResponse:
        attempts = self._caller.attempts(self._timeout_s)
        while True:
            if self._answers is None:
                self._answers = self._caller.steps(self._request, self._timeout_s)
            try:
                return self._answers.receive()
            except SightlineError as error:
                may_repeat = not self._answers.has_answered
                delay_s = attempts.delay_after(as_retryable(error)) if may_repeat else None
                if delay_s is None:
                    self.close()
                    raise
                self._answers.close()
                self._answers = None
            time.sleep(delay_s)


class Follow:
    """A stream of observations, each answered by what is expected next; for one thread."""

    def __init__(self, caller: Caller, observations: Observations, timeout_s: float) -> None:
        self._caller = caller
        self._observations = observations
        self._timeout_s = timeout_s
        self._exchange: Exchange[FollowRequest, FollowResponse] | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None:
            self.close()
        else:  # do not wait for the server's farewell
            self._hang_up()

    def __del__(self) -> None:
        self._hang_up()

    def observe(self, observed: HistoryLike) -> Prediction:
        """Say what was observed since the last call; returns what is expected next.

        Args:
            observed: one or more steps, in the terms of ``Client.predict``.

        Raises:
            SightlineError: there is no prediction, and the stream is at its end. ``Unavailable``
                with the code ABORTED: its state is lost; with ``resume=True`` this is mended here.
            TypeError, ValueError: it is no observation.
        """
        history = self._observations.read(observed)
        attempts = self._caller.attempts(self._timeout_s)
        while True:
            try:
                return self._observations.predicted(history, self._ask(history))
            except SightlineError as error:
                self._hang_up()
                is_final = self._observations.is_lost_for_good()
                delay_s = None if is_final else attempts.delay_after(as_retryable(error))
                if delay_s is None:
                    self._is_closed = is_final
                    raise
            time.sleep(delay_s)

    def close(self) -> None:
        """End the stream; the server forgets its state."""
        self._is_closed = True
        if self._exchange is not None:
            self._exchange.finish()
        self._hang_up()

    def _ask(self, history: History) -> FollowResponse:
        if self._is_closed:
            raise Cancelled("this stream has ended: open another with client.follow(...)")
        message = self._observations.message(history, is_first=self._exchange is None)
        if self._exchange is None:
            self._exchange = self._caller.follow(self._timeout_s)
        self._exchange.send(message)
        return self._exchange.receive()

    def _hang_up(self) -> None:
        """Give the stream up; the next observation would open another."""
        if self._exchange is not None:
            self._exchange.close()
        self._exchange = None
