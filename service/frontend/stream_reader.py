"""Reads the messages of a bidirectional stream ahead of their answers, in a thread of its own."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import grpc

from service.frontend.errors import INTERNAL_ERROR, RunFailed, ServiceError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class StreamReader(Generic[Item]):
    """At most ``window`` items are read before the first of them is answered.

    So a client that does not read its answers is not read from, and holds a bounded part of the
    shared memory.

    Args:
        requests: the stream's messages.
        window: of items.
        prepare: makes an item from a message, in the reader's thread.
        discard: receives the items that will not be answered.
        name: of the thread.
    """

    def __init__(
        self,
        requests: Iterator[Any],
        window: int,
        *,
        prepare: Callable[[Any], Item],
        discard: Callable[[Item], None],
        name: str,
    ) -> None:
        self._requests = requests
        self._prepare = prepare
        self._discard = discard
        self._name = name
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()  # None: there will be no more
        self._window = threading.Semaphore(window)
        self.has_ended = False  # `end` or `close` was called: nothing more is read
        self._is_closed = False  # `close` was called: nothing more is answered

    def items(self, idle_s: float | None = None) -> Iterator[Item]:
        """The items in order; an item counts as answered when the next one is requested.

        Args:
            idle_s: how long to wait for an item; None: without a limit.

        Raises:
            ServiceError: a message cannot be read.
            TimeoutError: no item came within ``idle_s``.
        """
        threading.Thread(target=self._read, name=self._name, daemon=True).start()
        while True:
            try:
                item = self._items.get(timeout=idle_s)
            except queue.Empty:
                raise TimeoutError from None
            if item is None:
                return
            if isinstance(item, ServiceError):
                raise item
            yield item
            self._window.release()

    def end(self) -> None:
        """The call has ended: read no more, and wake the thread that waits for an item."""
        self.has_ended = True
        self._items.put(None)

    def close(self) -> None:
        """No item is answered any more: stop the thread, and discard what it has read."""
        self.has_ended = self._is_closed = True
        self._window.release()
        self._discard_rest()

    def _read(self) -> None:
        """Body of the thread. A thread that waits for messages cannot also send answers."""
        try:
            for request in self._requests:
                self._window.acquire()
                if self.has_ended:
                    break
                self._items.put(self._prepare(request))
        except Exception as err:
            self._items.put(_read_error(err))
        else:
            self._items.put(None)
        finally:
            if self._is_closed:  # not before: the last item wakes the thread that answers
                self._discard_rest()

    def _discard_rest(self) -> None:
        while True:
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                return
            if item is not None and not isinstance(item, ServiceError):
                self._discard(item)


def _read_error(err: Exception) -> ServiceError | None:
    """The error that ends a stream's messages; None when the client has cancelled the call."""
    if isinstance(err, grpc.RpcError):
        logger.debug("a stream's client cancelled the call: %s", err)  # gRPC raises it
        return None
    if isinstance(err, ServiceError):  # a message that cannot be read ends the stream
        return err
    logger.error("unhandled error in a stream's reader", exc_info=err)
    return RunFailed(INTERNAL_ERROR)
