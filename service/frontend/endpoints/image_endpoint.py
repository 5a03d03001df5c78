"""What the three endpoints that read pictures do alike: one call, or a stream of requests."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from service.artifact.manifest import Task
from service.frontend.endpoints.image_request import (
    Array,
    Complete,
    ImageAsker,
    Question,
    item_error,
)
from service.frontend.endpoints.streams import answer_in_order
from service.frontend.interceptors import Call, CallContext
from service.frontend.model_repository import ModelRepository, ServedModel


class AskingOptions(Protocol):
    """What every endpoint's options say of how the images are asked."""

    @property
    def with_optional(self) -> bool:
        """Whether the outputs that are made on request are wanted."""
        ...

    @property
    def complete(self) -> Complete | None:
        """Fills the model's inputs beside the pixels."""
        ...


Options = TypeVar("Options", bound=AskingOptions)


class ImageEndpoint(ABC, Generic[Options]):
    """Each line of ``_ask`` and ``_answer`` is one station of the request path.

    The messages are those of the task's proto: a request has ``model`` and ``images``, a response
    ``results``, ``model`` and ``timing``, a stream's response ``id``, ``response`` and ``error``.
    """

    task: ClassVar[Task]
    stream_response: ClassVar[type[Any]]
    is_exact: ClassVar[bool]
    """Whether images are resized exactly as in training: a label bears an approximation, the border
    of a mask or a box less (ADR 0003)."""

    def __init__(self, models: ModelRepository, asker: ImageAsker, stream_window: int) -> None:
        self._models = models
        self._asker = asker
        self._stream_window = stream_window

    @abstractmethod
    def _check_options(self, request: Any, model: ServedModel) -> Options:
        """Refuse what is out of range, before anything is decoded."""

    @abstractmethod
    def _respond(
        self, request: Any, question: Question, outputs: list[list[Array]], options: Options
    ) -> Any:
        """The answer in the caller's terms, without its timing."""

    def _call(self, request: Any, context: CallContext) -> Any:
        """One call, one or many images."""
        return self._answer(request, *self._ask(request, context.call))

    def _stream(self, requests: Iterator[Any], context: CallContext) -> Iterator[Any]:
        """Many requests on one call, answered in order."""
        return answer_in_order(
            requests,
            context.call,
            self._stream_window,
            ask=lambda each, call: self._ask(each.request, call),
            answer=lambda each, asked: self.stream_response(
                id=each.id, response=self._answer(each.request, *asked)
            ),
            failure=lambda each, err: self.stream_response(id=each.id, error=item_error(err)),
            close=lambda asked: asked[0].close(),
        )

    def _ask(self, request: Any, call: Call) -> tuple[Question, Options]:
        model = self._models.find(request.model, self.task)
        call.model = model.update.name
        options = self._check_options(request, model)
        question = self._asker.ask(
            model,
            request.images,
            call,
            with_optional=options.with_optional,
            exact=self.is_exact,
            complete=options.complete,
        )
        return question, options

    def _answer(self, request: Any, question: Question, options: Options) -> Any:
        try:
            outputs = question.answer()
            started_ns = time.monotonic_ns()
            response = self._respond(request, question, outputs, options)
        finally:
            question.close()
        self._asker.record(question, response.timing, started_ns)
        return response
