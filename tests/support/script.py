"""A service on loopback whose answers follow a script.

What the script answers is at the edge: the protocol. The real server is tested elsewhere.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from sightline.v1 import (
    classification_pb2,
    classification_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
)

IDENTITY = models_pb2.ModelIdentity(name="cats", version=3, artifact_sha256="ab" * 32)
TIMING = models_pb2.Timing(
    decode_seconds=0.001,
    queue_seconds=0.002,
    run_seconds=0.003,
    total_seconds=0.007,
    batch_size=4,
    device="cpu",
)


@dataclass(frozen=True)
class Failure:
    """A status to answer with; `breaks` ends a whole stream with it, instead of one message."""

    code: grpc.StatusCode
    message: str = "as the script says"
    trailers: tuple[tuple[str, str], ...] = ()
    breaks: bool = False


@dataclass
class Script(
    classification_pb2_grpc.ClassificationServiceServicer, models_pb2_grpc.ModelServiceServicer
):
    """Fails as `failures` say, one a request; then labels each photo with its own bytes."""

    failures: deque[Failure | None] = field(default_factory=deque)
    models: deque[list[models_pb2.ModelStatus]] = field(default_factory=deque)
    requests: list[classification_pb2.ClassifyRequest] = field(default_factory=list)
    deadlines_s: list[float] = field(default_factory=list)
    streams: int = 0
    ended_streams: int = 0
    alter: Callable[[Any], None] = lambda response: None  # what is done to each answer
    was_asked: threading.Event = field(default_factory=threading.Event)
    stream_ended: threading.Event = field(default_factory=threading.Event)
    answers_nothing: threading.Event = field(default_factory=threading.Event)

    def Classify(self, request, context):
        self.requests.append(request)
        self.deadlines_s.append(context.time_remaining())
        while self.answers_nothing.is_set() and context.is_active():
            time.sleep(0.01)
        if self.failures and (failure := self.failures.popleft()):
            context.set_trailing_metadata(failure.trailers)
            context.abort(failure.code, failure.message)
        response = classify(request)
        if all(result.HasField("error") for result in response.results):
            first = response.results[0].error
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, first.message)
        self.alter(response)
        return response

    def ClassifyStream(self, request_iterator, context):
        self.streams += 1
        context.add_callback(self.stream_ended.set)
        for message in request_iterator:
            self.requests.append(message.request)
            self.was_asked.set()
            if self.answers_nothing.is_set():
                continue
            failure = self.failures.popleft() if self.failures else None
            if failure is None:
                answer = classify(message.request)
                response = classification_pb2.ClassifyStreamResponse(id=message.id, response=answer)
                self.alter(response)
                yield response
            elif failure.breaks and failure.code is grpc.StatusCode.OK:
                return
            elif failure.breaks:
                context.abort(failure.code, failure.message)
            else:
                error = models_pb2.ItemError(code=failure.code.value[0], message=failure.message)
                yield classification_pb2.ClassifyStreamResponse(id=message.id, error=error)
        self.ended_streams += 1

    def ListModels(self, request, context):
        models = self.models.popleft() if len(self.models) > 1 else self.models[0]
        wanted = [m for m in models if request.task in (models_pb2.TASK_UNSPECIFIED, m.task)]
        return models_pb2.ListModelsResponse(models=wanted)

    def GetModel(self, request, context):
        for model in self.models.popleft() if len(self.models) > 1 else self.models[0]:
            if model.identity.name == request.model.name:
                return models_pb2.GetModelResponse(model=model)
        return context.abort(grpc.StatusCode.NOT_FOUND, "no such model")

    def add_to(self, server: grpc.Server) -> None:
        classification_pb2_grpc.add_ClassificationServiceServicer_to_server(self, server)
        models_pb2_grpc.add_ModelServiceServicer_to_server(self, server)


def classify(request: classification_pb2.ClassifyRequest) -> classification_pb2.ClassifyResponse:
    response = classification_pb2.ClassifyResponse(model=IDENTITY, timing=TIMING)
    for image in request.images:
        result = response.results.add()
        if image.encoded.startswith(b"bad"):
            result.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            result.error.message = f"{image.encoded.decode()} is no image"
        else:
            name = image.encoded.decode("latin-1") or "pixels"
            result.classification.labels.add(name=name, index=1, score=0.75)
            result.classification.labels.add(name="other", index=0, score=0.25)
    return response
