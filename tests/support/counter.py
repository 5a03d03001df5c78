"""A sequence service on loopback that counts on, and fails as it is told to."""

import threading
from collections import deque
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import grpc
import numpy as np

from sightline.v1 import models_pb2, sequence_pb2, sequence_pb2_grpc

IDENTITY = models_pb2.ModelIdentity(name="counter", version=4, artifact_sha256="ef" * 32)
TIMING = models_pb2.Timing(total_seconds=0.01, batch_size=2, device="cpu")
ABORTED, UNAVAILABLE = grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE
NEVER = 1 << 30


def next_steps(history: sequence_pb2.History, options: Any) -> Iterator[sequence_pb2.Step]:
    """The next letters, tokens or values: each one more than the last."""
    for n in range(1, (options.max_steps or 1) + 1):
        match history.WhichOneof("content"):
            case "text":
                letter = chr(ord(history.text[-1]) + n)
                step = sequence_pb2.Step(text=letter, token=ord(letter), log_probability=-0.5)
                for k in range(options.top_alternatives):
                    step.alternatives.add(text=chr(97 + k), token=97 + k, log_probability=-k)
                yield step
            case "tokens":
                yield sequence_pb2.Step(token=history.tokens.ids[-1] + n)
            case _:
                last = np.array(history.values.values[-history.values.series :])
                yield sequence_pb2.Step(values=last + n, lower=last, upper=last + 2 * n)


class Counter(sequence_pb2_grpc.SequenceServiceServicer):
    """Counts on. `breaks` says after how many messages each call ends, and how."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.breaks: deque[tuple[int, grpc.StatusCode]] = deque()
        self.ended = threading.Semaphore(0)  # once for each call that has ended
        self.was_asked = threading.Event()
        self.is_silent = threading.Event()
        self.last: sequence_pb2.FollowResponse | grpc.StatusCode | None = None  # of Follow

    def Predict(self, request, context):
        self._count(request, context)
        response = sequence_pb2.PredictResponse(model=IDENTITY, timing=TIMING)
        for history in request.histories:
            result = response.results.add()
            if history.text.startswith("bad"):
                result.error.CopyFrom(models_pb2.ItemError(code=3, message="not in the vocabulary"))
                continue
            steps = list(next_steps(history, request.options))
            result.continuation.steps.extend(steps)
            result.continuation.text = "".join(step.text for step in steps)
            result.continuation.finish_reason = sequence_pb2.FINISH_REASON_STEPS
        return response

    def PredictStream(self, request, context):
        after, code = self._count(request, context)
        steps = next_steps(request.history, request.options)
        for number in count():
            if not (message := list(islice(steps, 2))):
                break
            if number == after:
                context.abort(code, "as the script says")
            model = IDENTITY if number == 0 else None
            yield sequence_pb2.PredictStreamResponse(steps=message, model=model)
            if not context.is_active():
                return
        yield sequence_pb2.PredictStreamResponse(
            finish_reason=sequence_pb2.FINISH_REASON_STOP, timing=TIMING
        )

    def Follow(self, request_iterator, context):
        after, code = self._count(None, context)
        seen: list[float] = []
        options = None
        for number, request in enumerate(request_iterator):
            self.requests.append(request)
            options = options or request.options
            values = request.observed.values
            if np.isnan(values.values).any():
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a value is not finite")
            if number == after:
                context.abort(code, "the state is lost: send the history again")
            seen += values.values
            total = sequence_pb2.History(values={"values": [sum(seen)], "series": 1})
            yield sequence_pb2.FollowResponse(
                steps=next_steps(total, options),
                observed_steps=len(seen),
                model=IDENTITY if number == 0 else None,
            )
        if isinstance(self.last, grpc.StatusCode):
            context.abort(self.last, "as the script says")
        if self.last is not None:
            yield self.last

    def _count(self, request, context) -> tuple[int, grpc.StatusCode]:
        context.add_callback(self.ended.release)
        self.was_asked.set()
        if request is not None:
            self.requests.append(request)
        while self.is_silent.is_set() and context.is_active():
            self.is_silent.wait(0.01)
        after, code = self.breaks.popleft() if self.breaks else (NEVER, ABORTED)
        if after == 0:
            context.abort(code, "as the script says")
        return after, code

    def add_to(self, server: grpc.Server) -> None:
        sequence_pb2_grpc.add_SequenceServiceServicer_to_server(self, server)
