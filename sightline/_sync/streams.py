# Generated from sightline/_async/streams.py by `make twins`: edit that file.

"""Steps as they are made, and a prediction after each observation."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Self

from sightline._sync.calls import Caller
from sightline._sync.glue import DroppedStreamHangsUp, sleep
from sightline._sync.transport import BidirectionalStream, ResponseStream
from sightline.errors import Cancelled, SightlineError
from sightline.requests.histories import HistoryLike
from sightline.requests.observations import Observations, as_retryable
from sightline.results.continuation import Prediction, Step
from sightline.results.step_buffer import StepBuffer
from sightline.v1.sequence_pb2 import (
    FollowRequest,
    FollowResponse,
    History,
    PredictStreamRequest,
    PredictStreamResponse,
)


class StepStream(StepBuffer, DroppedStreamHangsUp, Iterator[Step]):
    """The steps of one continuation as they are made; ``with`` and ``close`` end it early."""

    def __init__(self, caller: Caller, request: PredictStreamRequest, timeout_s: float) -> None:
        super().__init__()
        self._caller = caller
        self._request = request
        self._timeout_s = timeout_s
        self._responses: ResponseStream[PredictStreamResponse] | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __next__(self) -> Step:
        """The next step.

        Raises:
            StopIteration: the stream has ended; ``finish_reason`` says why.
            SightlineError: the stream is broken. It is opened again only before its first step:
                a sampled continuation could not go on as it began.
        """
        while (step := self._pop()) is None:
            if self._is_closed:
                raise StopIteration
            self._put(self._receive())
            if self.finish_reason is not None:
                self._finish()
        return step

    def close(self) -> None:
        """Cancel the steps that are not made yet; those that have arrived can still be taken."""
        self._hang_up()

    def _finish(self) -> None:
        if self._responses is not None:
            self._responses.finish()
        self._hang_up()

    def _receive(self) -> PredictStreamResponse:
        attempts = self._caller.attempts(self._timeout_s)
        while True:
            if self._responses is None:
                self._responses = self._caller.steps(self._request, self._timeout_s)
            try:
                return self._responses.receive()
            except SightlineError as error:
                may_repeat = not self._responses.has_answered
                delay_s = attempts.delay_after(as_retryable(error)) if may_repeat else None
                if delay_s is None:
                    self._hang_up()
                    raise
                self._responses.close()
                self._responses = None
            sleep(delay_s)

    def _hang_up(self) -> None:
        self._is_closed = True
        if self._responses is not None:
            self._responses.close()


class Follow(DroppedStreamHangsUp):
    """A stream of observations, each answered by a prediction; for one thread or task."""

    def __init__(self, caller: Caller, observations: Observations, timeout_s: float) -> None:
        self._caller = caller
        self._observations = observations
        self._timeout_s = timeout_s
        self._stream: BidirectionalStream[FollowRequest, FollowResponse] | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None:
            self.close()
        else:  # do not wait for the server to end the stream
            self._hang_up()

    def observe(self, observed: HistoryLike) -> Prediction:
        """Send what was observed since the last call; returns the prediction that follows.

        Args:
            observed: one step or several, in one of the forms that ``predict`` takes.

        Raises:
            SightlineError: there is no prediction, and the stream has ended. ``Unavailable`` with
                the code ABORTED means that the server lost its state; ``resume=True`` mends this.
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
            sleep(delay_s)

    def finish(self) -> Prediction | None:
        """End the stream; the server forgets its state.

        A model of frames answers the samples that do not fill a frame: zeros fill it.
        ``padded_samples`` says how many.

        Returns:
            The prediction after these samples; None when there are none.

        Raises:
            SightlineError: there is no prediction; ``Unavailable`` with the code ABORTED means that
                the server lost the stream's state.
        """
        self._is_closed = True
        if self._stream is None:
            return None
        try:
            response = self._stream.last()
        finally:
            self._hang_up()
        return None if response is None else self._observations.last(response)

    def close(self) -> None:
        """End the stream as ``finish`` does, without its prediction."""
        with suppress(SightlineError):  # nothing is missing, in good order or not
            self.finish()

    def _ask(self, history: History) -> FollowResponse:
        if self._is_closed:
            raise Cancelled("this stream has ended: open another with client.follow(...)")
        message = self._observations.message(history, is_first=self._stream is None)
        if self._stream is None:
            self._stream = self._caller.follow(self._timeout_s)
        self._stream.send(message)
        return self._stream.receive()

    def _hang_up(self) -> None:
        """Cancel the call; the next observation would open another."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
