"""Bidirectional bulk streams: several requests in flight at once, answered in order."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from service.frontend.call import Call
from service.frontend.errors import INTERNAL_ERROR, RunFailed, ServiceError
from service.frontend.stream_reader import StreamReader

logger = logging.getLogger(__name__)

Request = TypeVar("Request")
Response = TypeVar("Response")
Submitted = TypeVar("Submitted")


def answer_in_order(
    requests: Iterator[Request],
    call: Call,
    window: int,
    *,
    submit: Callable[[Request, Call], Submitted],
    answer: Callable[[Request, Submitted], Response],
    failure: Callable[[Request, ServiceError], Response],
    close: Callable[[Submitted], None],
) -> Iterator[Response]:
    """Answer every request of a stream; one that fails is answered with its error.

    A second thread reads and submits at most ``window`` requests ahead of the answers.
    """
    cancels: dict[Call, Callable[[], None]] = {}  # of the requests in flight
    call.on_end(lambda: _call_all(cancels))

    def prepare(request: Request) -> tuple[Call, Request, Any]:
        """Submit a request with a call of its own."""

        def on_end(cancel: Callable[[], None]) -> bool:
            cancels[own] = cancel
            return True

        own = call.for_request(on_end)
        submitted = _attempt(submit, request, own)
        call.model = own.model
        return own, request, submitted

    def discard(item: tuple[Call, Request, Any]) -> None:
        """Release what was submitted and will not be answered."""
        own, _, submitted = item
        own.end()
        if not isinstance(submitted, ServiceError):
            close(submitted)

    reader = StreamReader(requests, window, prepare=prepare, discard=discard, name="stream reader")
    try:
        for own, request, submitted in reader.items():
            result = submitted
            if not isinstance(submitted, ServiceError):
                result = _attempt(answer, request, submitted)
            cancels.pop(own, None)
            own.end()
            yield failure(request, result) if isinstance(result, ServiceError) else result
    finally:
        reader.close()


def _call_all(cancels: dict[Call, Callable[[], None]]) -> None:
    for cancel in list(cancels.values()):
        cancel()


def _attempt(step: Callable[..., Any], *arguments: Any) -> Any:
    """The step's result, or the error to answer its request with."""
    try:
        return step(*arguments)
    except ServiceError as err:
        return err
    except Exception:
        logger.exception("unhandled error in a stream")
        return RunFailed(INTERNAL_ERROR)
