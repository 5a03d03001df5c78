"""One streaming call: messages out, answers in order, each awaited for a bounded time.

A server, or a proxy before it, may end a long stream whenever it likes; to the client that is a
lost connection (``Unavailable``), and it opens another where that is safe. The stream as a whole
has no deadline, for its length is the caller's affair; what is bounded is the wait for each answer.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator
from typing import Generic, Protocol, TypeVar, cast

import grpc
import grpc.aio

from sightline.errors import DeadlineExceeded, SightlineError, Unavailable, from_rpc_error
from sightline.rpcs import Request, Response

Received = TypeVar("Received", covariant=True)

# With asyncio, gRPC puts this INTERNAL in the place of the server's status when a stream ends while
# a message is being sent (github.com/grpc/grpc/issues/36066). The next stream will tell.
_STATUS_LOST = "Internal error from Core"
_ENDED = "the server ended the stream before it had answered everything"


def _late(timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"the next answer of the stream did not come within {timeout_s:g} s")


def _broken(error: grpc.RpcError, *, is_endless: bool) -> SightlineError:
    if error.details() == _STATUS_LOST:
        return Unavailable(_ENDED)
    if is_endless and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        # The client sets no deadline on a stream, so this one is the server's: on its length, or
        # on the wait for the next message. Another stream has all its time before it.
        return Unavailable(f"{_ENDED}: {from_rpc_error(error)}")
    return from_rpc_error(error)


class Call(Protocol[Received]):
    """What gRPC gives for a call with many answers, as far as it is needed here."""

    def __next__(self) -> Received:
        """The next answer."""
        ...

    def cancel(self) -> object:
        """Give it up."""
        ...


class Answers(Generic[Response]):
    """What comes back on a call, for threads."""

    _is_endless = False

    def __init__(self, call: Call[Response], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._call = call
        self._due_s: float | None = None  # when the answer that is awaited must be there
        self._has_expired = False
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="stream watchdog", daemon=True).start()
        self.has_answered = False

    def receive(self) -> Response:
        """The next answer.

        Raises:
            SightlineError: the stream is broken; ``DeadlineExceeded`` when nothing came in time.
        """
        self._due_s = time.monotonic() + self._timeout_s
        try:
            answer = self._call.__next__()
        except StopIteration:
            raise Unavailable(_ENDED) from None
        except grpc.RpcError as error:
            if self._has_expired:
                raise _late(self._timeout_s) from error
            raise _broken(error, is_endless=self._is_endless) from error
        finally:
            self._due_s = None
        self.has_answered = True
        return answer

    def finish(self) -> None:
        """Let the server end the call in good order."""
        with contextlib.suppress(SightlineError):  # orderly or not, nothing is missing
            self.receive()

    def close(self) -> None:
        """Give the call up, if it has not ended."""
        self._closed.set()
        self._call.cancel()

    def _watch(self) -> None:
        """Give the call up when an answer is overdue: ``next`` on a call has no time-out.

        It looks again after ``timeout_s`` at the latest, so no answer falls due while it sleeps.
        """
        sleep_s = longest_s = min(self._timeout_s, threading.TIMEOUT_MAX)
        while not self._closed.wait(sleep_s):
            due_s = self._due_s
            sleep_s = longest_s if due_s is None else due_s - time.monotonic()
            if sleep_s <= 0:
                self._has_expired = True
                self._call.cancel()
                return


class Exchange(Answers[Response], Generic[Request, Response]):
    """A call on which messages go out, too: gRPC sends from a thread, so sending never blocks."""

    _is_endless = True

    def __init__(
        self, rpc: grpc.StreamStreamMultiCallable[Request, Response], timeout_s: float
    ) -> None:
        self._outbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        super().__init__(rpc(iter(self._outbox.get, None)), timeout_s)

    def send(self, message: Request) -> None:
        """Put one more message out."""
        self._outbox.put(message)

    def finish(self) -> None:
        """Say that nothing follows, and let the server end the call in good order."""
        self._outbox.put(None)
        super().finish()

    def close(self) -> None:
        """Give the call up, if it has not ended."""
        self._outbox.put(None)  # releases gRPC's sending thread
        super().close()


class AsyncAnswers(Generic[Request, Response]):
    """What comes back on a call, for asyncio."""

    _is_endless = False

    def __init__(
        self,
        call: grpc.aio.StreamStreamCall[Request, Response]
        | grpc.aio.UnaryStreamCall[Request, Response],
        timeout_s: float,
    ) -> None:
        self._timeout_s = timeout_s
        self._call = call
        self.has_answered = False

    async def receive(self) -> Response:
        """The next answer; raises as ``Answers.receive`` does."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._call.read()
        except TimeoutError:
            raise _late(self._timeout_s) from None
        except grpc.RpcError as error:
            raise _broken(error, is_endless=self._is_endless) from error
        if answer is grpc.aio.EOF:
            raise Unavailable(_ENDED)
        self.has_answered = True
        return cast(Response, answer)

    async def finish(self) -> None:
        """Let the server end the call in good order."""
        with contextlib.suppress(SightlineError):  # orderly or not, nothing is missing
            await self.receive()

    def close(self) -> None:
        """Give the call up, if it has not ended."""
        self._call.cancel()


class AsyncExchange(AsyncAnswers[Request, Response]):
    """A call on which messages go out, too: gRPC sends from a task, so sending never blocks."""

    _is_endless = True

    def __init__(
        self, rpc: grpc.aio.StreamStreamMultiCallable[Request, Response], timeout_s: float
    ) -> None:
        self._outbox = _AsyncOutbox[Request]()
        super().__init__(rpc(self._outbox), timeout_s)

    def send(self, message: Request) -> None:
        """Put one more message out."""
        self._outbox.put_nowait(message)

    async def finish(self) -> None:
        """Say that nothing follows, and let the server end the call in good order."""
        self._outbox.put_nowait(None)
        await super().finish()

    def close(self) -> None:
        """Give the call up, if it has not ended."""
        self._outbox.put_nowait(None)  # releases gRPC's sending task
        super().close()


class _AsyncOutbox(asyncio.Queue[Request | None]):
    """What is to be sent, up to None. Not a generator: gRPC drops it without closing it."""

    def __aiter__(self) -> AsyncIterator[Request]:
        return self

    async def __anext__(self) -> Request:
        if (message := await self.get()) is None:
            raise StopAsyncIteration
        return message
