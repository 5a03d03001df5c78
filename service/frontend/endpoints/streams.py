"""Bidirectional bulk streams: several requests under way at once, answered in order."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from service.frontend.errors import INTERNAL_ERROR, RunFailed, ServiceError
from service.frontend.interceptors import Call

logger = logging.getLogger(__name__)

Request = TypeVar("Request")
Response = TypeVar("Response")
Asked = TypeVar("Asked")

_Item = tuple[Call, Any, Any] | ServiceError | None  # None: there will be no more


def answer_in_order(
    requests: Iterator[Request],
    call: Call,
    window: int,
    *,
    ask: Callable[[Request, Call], Asked],
    answer: Callable[[Request, Asked], Response],
    failure: Callable[[Request, ServiceError], Response],
    close: Callable[[Asked], None],
) -> Iterator[Response]:
    """Answer every request of a stream; one that fails is answered with its error.

    A second thread reads ahead and asks, at most ``window`` requests before the answers; so a
    caller who does not read his answers is not read from any more, and holds a bounded part of the
    shared memory.
    """
    asked: queue.SimpleQueue[_Item] = queue.SimpleQueue()
    room = threading.Semaphore(window)
    has_ended = threading.Event()
    cancels: dict[Call, Callable[[], None]] = {}  # for when the caller leaves
    call.on_end(lambda: _call_all(cancels))

    def read_ahead() -> None:
        try:
            for request in requests:
                room.acquire()
                if has_ended.is_set():
                    break
                own = _own_call(call, cancels)
                asked.put((own, request, _attempt(ask, request, own)))
                call.model = own.model
        except Exception as err:
            asked.put(why_unread(err))
        else:
            asked.put(None)
        finally:
            if has_ended.is_set():
                _close_rest(asked, close)

    threading.Thread(target=read_ahead, name="stream reader", daemon=True).start()
    try:
        while (item := asked.get()) is not None:
            if isinstance(item, ServiceError):
                raise item
            own, request, question = item
            if not isinstance(question, ServiceError):
                question = _attempt(answer, request, question)
            cancels.pop(own, None)
            own.end()
            yield failure(request, question) if isinstance(question, ServiceError) else question
            room.release()
    finally:
        has_ended.set()
        room.release()
        _close_rest(asked, close)


def why_unread(err: Exception) -> ServiceError | None:
    """What ended the messages of a stream, for its caller; None when it was he who left."""
    if isinstance(err, grpc.RpcError):
        logger.debug("a stream's caller left: %s", err)  # gRPC raises it from the iterator
        return None
    if isinstance(err, ServiceError):  # a message that cannot be read ends the stream
        return err
    logger.error("unhandled error in a stream's reader", exc_info=err)
    return RunFailed(INTERNAL_ERROR)


def _own_call(call: Call, cancels: dict[Call, Callable[[], None]]) -> Call:
    """One request's share of the stream's call: a deadline, and its cancellation."""

    def on_end(cancel: Callable[[], None]) -> bool:
        cancels[own] = cancel
        return True

    own = call.part(on_end)
    return own


def _call_all(cancels: dict[Call, Callable[[], None]]) -> None:
    for cancel in list(cancels.values()):
        cancel()


def _attempt(step: Callable[..., Any], *arguments: Any) -> Any:
    """The step's result, or the error that its request is to be told."""
    try:
        return step(*arguments)
    except ServiceError as err:
        return err
    except Exception:
        logger.exception("unhandled error in a stream")
        return RunFailed(INTERNAL_ERROR)


def _close_rest(asked: "queue.SimpleQueue[_Item]", close: Callable[[Any], None]) -> None:
    """After a caller has left: give back what was asked and will not be answered."""
    while True:
        try:
            item = asked.get_nowait()
        except queue.Empty:
            return
        if isinstance(item, tuple):
            own, _, question = item
            own.end()
            if not isinstance(question, ServiceError):
                close(question)
