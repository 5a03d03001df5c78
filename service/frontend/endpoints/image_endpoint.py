"""What the three endpoints for images share: one call, or a stream of requests."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from service.artifact.manifest import Task
from service.frontend.call import Call, CallContext
from service.frontend.endpoints.image_request import (
    Array,
    Complete,
    ImageRequest,
    ImageRequests,
    item_error,
)
from service.frontend.endpoints.streams import answer_in_order
from service.frontend.model_repository import ModelRepository, ServedModel


class ImageOptions(Protocol):
    """The options that every endpoint has, beside its own."""

    @property
    def with_optional(self) -> bool:
        """Whether the outputs that are made on request are wanted."""
        ...

    @property
    def complete(self) -> Complete | None:
        """Fills the model's inputs beside the pixels."""
        ...


SomeOptions = TypeVar("SomeOptions", bound=ImageOptions)


class ImageEndpoint(ABC, Generic[SomeOptions]):
    """Each line of ``_submit`` and ``_answer`` is one station of the request path.

    The messages are those of the task's proto: a request has ``model`` and ``images``, a response
    ``results``, ``model`` and ``timing``, a stream's response ``id``, ``response`` and ``error``.
    """

    task: ClassVar[Task]
    stream_response: ClassVar[type[Any]]
    is_exact: ClassVar[bool]
    """Whether images are resized exactly as in training. Labels tolerate an approximation; the
    borders of masks and boxes do not (ADR 0003)."""

    def __init__(
        self, models: ModelRepository, image_requests: ImageRequests, stream_window: int
    ) -> None:
        self._models = models
        self._image_requests = image_requests
        self._stream_window = stream_window

    @abstractmethod
    def _check_options(self, request: Any, model: ServedModel) -> SomeOptions:
        """Refuse values out of range, before any image is decoded."""

    @abstractmethod
    def _respond(
        self,
        request: Any,
        image_request: ImageRequest,
        outputs: list[list[Array]],
        options: SomeOptions,
    ) -> Any:
        """The response without its timing."""

    def _call(self, request: Any, context: CallContext) -> Any:
        """One call, one or many images."""
        return self._answer(request, *self._submit(request, context.call))

    def _stream(self, requests: Iterator[Any], context: CallContext) -> Iterator[Any]:
        """Many requests on one call, answered in order."""
        return answer_in_order(
            requests,
            context.call,
            self._stream_window,
            submit=lambda each, call: self._submit(each.request, call),
            answer=lambda each, submitted: self.stream_response(
                id=each.id, response=self._answer(each.request, *submitted)
            ),
            failure=lambda each, err: self.stream_response(id=each.id, error=item_error(err)),
            close=lambda submitted: submitted[0].close(),
        )

    def _submit(self, request: Any, call: Call) -> tuple[ImageRequest, SomeOptions]:
        model = self._models.find(request.model, self.task)
        call.model = model.update.name
        options = self._check_options(request, model)
        image_request = self._image_requests.submit(
            model,
            request.images,
            call,
            with_optional=options.with_optional,
            exact=self.is_exact,
            complete=options.complete,
        )
        return image_request, options

    def _answer(self, request: Any, image_request: ImageRequest, options: SomeOptions) -> Any:
        try:
            outputs = image_request.wait()
            started_ns = time.monotonic_ns()
            response = self._respond(request, image_request, outputs, options)
        finally:
            image_request.close()
        self._image_requests.record(image_request, response.timing, started_ns)
        return response
