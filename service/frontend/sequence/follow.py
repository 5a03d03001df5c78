"""One ``Follow`` stream: messages of observations, each answered with what comes next.

The state stays in the worker that answered the first message, under that ticket's number.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.workers import WorkerLink
from service.frontend.endpoints.streams import why_unread
from service.frontend.errors import DeadlineExpired, InvalidInput, ServiceError
from service.frontend.interceptors import Call
from service.frontend.model_repository import ServedModel
from service.frontend.sequence.generation import start_generation
from service.frontend.sequence.history import HistoryReader
from service.frontend.sequence.options import Options
from service.frontend.sequence.steps import add_steps, plan_of
from sightline.v1 import sequence_pb2 as pb

logger = logging.getLogger(__name__)

_READ_AHEAD = 2  # messages


class FollowStream:
    """One caller's stream.

    Args:
        dispatcher: of this frontend.
        requests: the caller's messages.
        call: the caller's.
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
        self._requests = requests
        self._call = call
        self._idle_s = idle_s
        self._received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.Semaphore(_READ_AHEAD)
        self._has_ended = threading.Event()
        self._cancel: Callable[[], None] | None = None
        self._model: ServedModel | None = None
        self._worker: WorkerLink | None = None
        self._stream = 0
        self._samples: NDArray[np.float32] = np.empty(0, np.float32)
        self._observed = self._made = 0
        self._has_answered = False
        call.on_end(self._leave)

    @property
    def is_open(self) -> bool:
        """Whether its model is known."""
        return self._model is not None

    def requests(self) -> Iterator[pb.FollowRequest]:
        """The caller's messages.

        Raises:
            ServiceError: one cannot be read, or none came for too long.
        """
        threading.Thread(target=self._read, name="follow reader", daemon=True).start()
        while True:
            try:
                received = self._received.get(timeout=self._idle_s)
            except queue.Empty:
                raise DeadlineExpired(
                    f"nothing was observed for {self._idle_s:g} s; open another stream when there"
                    " is something"
                ) from None
            if received is None:
                return
            if isinstance(received, ServiceError):
                raise received
            yield received
            self._room.release()

    def open(self, model: ServedModel, options: Options, reader: HistoryReader) -> None:
        """The first message says what is followed, and how.

        Raises:
            InvalidInput: it cannot be followed so.
        """
        if options.plan.beams > 1:
            raise InvalidInput("a stream that is followed has one beam; leave sampling.beams unset")
        section = model.manifest.sequence
        assert section is not None  # checked when the version was taken over
        self._model, self._options, self._reader, self._section = model, options, reader, section
        self._stream = self._dispatcher.next_id()

    def observe(self, observed: pb.History) -> pb.FollowResponse:
        """Let the model read, and say what it expects.

        Raises:
            ServiceError: the observation is not what the model takes, or the state was lost.
        """
        assert self._model is not None
        elements = self._whole_frames(self._reader.read(observed))
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
            first_step=self._made,
        )
        generation = start_generation(
            self._dispatcher,
            self._model,
            elements,
            plan,
            self._call.part(self._on_end),
            self._worker,
        )
        try:
            generation.wait()
            slot = generation.room.slot
            add_steps(response, slot, 0, slot.count, self._model, self._options)
        finally:
            self._worker = self._worker or generation.link
            generation.room.close()
        self._observed += len(elements)
        self._made += len(response.steps)
        return response

    def close(self) -> None:
        """Nobody follows any more: forget the state."""
        self._leave()
        self._room.release()
        if self._worker is not None:
            self._dispatcher.close_stream(self._worker, self._stream)

    # -- inside

    def _read(self) -> None:
        """Body of the thread that reads, for a thread that waits for messages cannot wait less."""
        try:
            for request in self._requests:
                self._room.acquire()
                if self._has_ended.is_set():
                    return
                self._received.put(request)
        except Exception as err:
            self._received.put(why_unread(err))
        self._received.put(None)

    def _leave(self) -> None:
        """The call has ended: what is under way is of no use any more."""
        self._has_ended.set()
        if self._cancel is not None:
            self._cancel()
        self._received.put(None)

    def _on_end(self, cancel: Callable[[], None]) -> bool:
        self._cancel = cancel
        return not self._has_ended.is_set()

    def _whole_frames(self, elements: NDArray[Any]) -> NDArray[Any]:
        """Of samples: those that fill frames ``[n, frame]``; the rest is kept for the next."""
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
