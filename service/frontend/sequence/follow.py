"""One ``Follow`` stream: messages of observations, each answered with a prediction.

The state stays in the worker that answered the first message, under the number of that ticket.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.frontend.call import Call
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.pending import Worker
from service.frontend.errors import DeadlineExpired, InvalidInput
from service.frontend.model_repository import ServedModel
from service.frontend.sequence.generation import start_generation
from service.frontend.sequence.history import HistoryReader
from service.frontend.sequence.options import ContinuationOptions
from service.frontend.sequence.steps import add_steps, plan_of
from service.frontend.sequence.stop_exclusion import answered_steps
from service.frontend.stream_reader import StreamReader
from sightline.v1 import sequence_pb2 as pb

_READ_AHEAD = 2  # messages


class FollowStream:
    """The stream of one call.

    Args:
        dispatcher: of this frontend.
        requests: the client's messages.
        call: of the stream.
        idle_s: how long to wait for a message.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        requests: Iterator[pb.FollowRequest],
        call: Call,
        idle_s: float,
    ) -> None:
        self._dispatcher = dispatcher
        self._call = call
        self._idle_s = idle_s
        self._reader: StreamReader[pb.FollowRequest] = StreamReader(
            requests,
            _READ_AHEAD,
            prepare=lambda request: request,
            discard=lambda _: None,
            name="follow reader",
        )
        self._cancel: Callable[[], None] | None = None
        self._model: ServedModel | None = None
        self._worker: Worker | None = None
        self._stream = 0
        self._samples: NDArray[np.float32] = np.empty(0, np.float32)
        self._observed = self._predicted = 0
        self._has_answered = False
        call.on_end(self._end)

    @property
    def is_open(self) -> bool:
        """Whether its model is known."""
        return self._model is not None

    def requests(self) -> Iterator[pb.FollowRequest]:
        """The client's messages.

        Raises:
            ServiceError: a message cannot be read, or none came in time.
        """
        try:
            yield from self._reader.items(self._idle_s)
        except TimeoutError:
            raise DeadlineExpired(
                f"no observation came for {self._idle_s:g} s; open another stream for the next one"
            ) from None

    def open(
        self, model: ServedModel, options: ContinuationOptions, history_reader: HistoryReader
    ) -> None:
        """The first message names the model and the options.

        Raises:
            InvalidInput: the options are not valid for a stream.
        """
        if options.plan.beams > 1:
            raise InvalidInput("a stream that is followed has one beam; leave sampling.beams unset")
        section = model.manifest.sequence
        assert section is not None  # checked when the version was loaded
        self._model, self._options, self._section = model, options, section
        self._history_reader = history_reader
        self._stream = self._dispatcher.next_id()

    def observe(self, observed: pb.History) -> pb.FollowResponse:
        """Let the model read the observations, and predict the next steps.

        Raises:
            ServiceError: the observations are not of the model's kind, or the state was lost.
        """
        return self._predict(self._whole_frames(self._history_reader.read(observed)))

    def finish(self) -> pb.FollowResponse | None:
        """After the client's last message: the prediction after samples that do not fill a frame.

        Zeros fill the frame, as they fill the row of a transcription.

        Raises:
            ServiceError: the state was lost.
        """
        if self._reader.has_ended or not len(self._samples):
            return None
        padding = np.zeros(self._section.frame - len(self._samples), np.float32)
        response = self._predict(self._whole_frames(padding))
        response.padded_samples = len(padding)
        return response

    def _predict(self, elements: NDArray[Any]) -> pb.FollowResponse:
        assert self._model is not None
        self._check_context(len(elements))
        response = pb.FollowResponse(observed_steps=self._observed + len(elements))
        if not self._has_answered:
            self._has_answered = True
            response.model.CopyFrom(self._model.identity)
        if not len(elements):
            return response
        plan = plan_of(
            self._options,
            len(elements),
            stream=self._stream,
            opens_stream=self._worker is None,
            first_step=self._predicted,
        )
        generation = start_generation(
            self._dispatcher,
            self._model,
            elements,
            plan,
            self._call.for_request(self._on_end),
            self._worker,
        )
        try:
            generation.wait()
            slot = generation.reservation.slot
            made = slot.count
            count, last_text = answered_steps(slot, made, self._section, self._options)
            add_steps(response, slot, 0, count, self._model, self._options, last_text)
        finally:
            self._worker = self._worker or generation.worker
            generation.reservation.close()
        self._observed += len(elements)
        self._predicted += made
        return response

    def close(self) -> None:
        """The stream has ended: forget its state."""
        self._end()
        self._reader.close()
        if self._worker is not None:
            self._dispatcher.close_stream(self._worker, self._stream)

    def _end(self) -> None:
        """The call has ended: cancel the request in flight."""
        self._reader.end()
        if self._cancel is not None:
            self._cancel()

    def _on_end(self, cancel: Callable[[], None]) -> bool:
        self._cancel = cancel
        return not self._reader.has_ended

    def _whole_frames(self, elements: NDArray[Any]) -> NDArray[Any]:
        """The samples that fill frames ``[n, frame]``; the rest is kept for the next message."""
        if not (frame := self._section.frame):
            return elements
        samples = np.concatenate([self._samples, elements])
        count = len(samples) // frame
        self._samples = samples[count * frame :]
        return samples[: count * frame].reshape(count, frame)

    def _check_context(self, count: int) -> None:
        context = self._section.context
        if context and self._observed + count > context:
            raise InvalidInput(
                f"with this message {self._observed + count} steps are observed, and the model's"
                f" context is {context}; open another stream and send the end of the history"
            )
