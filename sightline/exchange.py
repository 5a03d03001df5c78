"""One ``ClassifyStream`` call: messages out, answers in order, each awaited for a bounded time.

A server, or a proxy before it, may end a long stream whenever it likes; to the client that is a
lost connection (``Unavailable``), and it opens another. The stream as a whole has no deadline, for
its length is the caller's affair; what is bounded is the wait for each answer.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator
from typing import cast

import grpc
import grpc.aio

from sightline.errors import DeadlineExceeded, SightlineError, Unavailable, from_rpc_error
from sightline.v1.classification_pb2 import ClassifyStreamRequest, ClassifyStreamResponse

Rpc = grpc.StreamStreamMultiCallable[ClassifyStreamRequest, ClassifyStreamResponse]
AioRpc = grpc.aio.StreamStreamMultiCallable[ClassifyStreamRequest, ClassifyStreamResponse]
AioCall = grpc.aio.StreamStreamCall[ClassifyStreamRequest, ClassifyStreamResponse]

_ENDED = "the server ended the stream before it had answered everything"


def _late(timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"the next answer of the stream did not come within {timeout_s:g} s")


def _broken(error: grpc.RpcError) -> SightlineError:
    # The client sets no deadline on a stream, so this one is the server's limit on its length.
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable(_ENDED)
    return from_rpc_error(error)


class Exchange:
    """The call, for threads: gRPC sends from a thread of its own, so sending never blocks."""

    def __init__(self, rpc: Rpc, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._outbox: queue.SimpleQueue[ClassifyStreamRequest | None] = queue.SimpleQueue()
        self._expired = threading.Event()
        self._call = rpc(iter(self._outbox.get, None))
        self.has_answered = False

    def send(self, message: ClassifyStreamRequest) -> None:
        """Put one more message out."""
        self._outbox.put(message)

    def receive(self) -> ClassifyStreamResponse:
        """The next answer.

        Raises:
            SightlineError: the stream is broken; ``DeadlineExceeded`` when nothing came in time.
        """
        watchdog = threading.Timer(self._timeout_s, self._expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            answer = next(self._call)
        except StopIteration:
            raise Unavailable(_ENDED) from None
        except grpc.RpcError as error:
            raise (_late(self._timeout_s) if self._expired.is_set() else _broken(error)) from error
        finally:
            watchdog.cancel()
        self.has_answered = True
        return answer

    def finish(self) -> None:
        """Say that nothing follows, and let the server end the call in good order."""
        self._outbox.put(None)
        with contextlib.suppress(SightlineError):  # orderly or not, nothing is missing
            self.receive()

    def close(self) -> None:
        """Give the call up, if it has not ended."""
        self._outbox.put(None)  # releases gRPC's sending thread
        self._call.cancel()

    def _expire(self) -> None:
        self._expired.set()
        self._call.cancel()


class AsyncExchange:
    """The call, for asyncio: gRPC sends from a task of its own, so sending never blocks."""

    def __init__(self, rpc: AioRpc, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._outbox: asyncio.Queue[ClassifyStreamRequest | None] = asyncio.Queue()
        self._call: AioCall = rpc(self._messages())
        self.has_answered = False

    def send(self, message: ClassifyStreamRequest) -> None:
        """Put one more message out."""
        self._outbox.put_nowait(message)

    async def receive(self) -> ClassifyStreamResponse:
        """The next answer; raises as ``Exchange.receive`` does."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._call.read()
        except TimeoutError:
            raise _late(self._timeout_s) from None
        except grpc.RpcError as error:
            raise _broken(error) from error
        if answer is grpc.aio.EOF:
            raise Unavailable(_ENDED)
        self.has_answered = True
        return cast(ClassifyStreamResponse, answer)

    async def finish(self) -> None:
        """Say that nothing follows, and let the server end the call in good order."""
        self._outbox.put_nowait(None)
        with contextlib.suppress(SightlineError):  # orderly or not, nothing is missing
            await self.receive()

    def close(self) -> None:
        """Give the call up, if it has not ended."""
        self._call.cancel()

    async def _messages(self) -> AsyncIterator[ClassifyStreamRequest]:
        while (message := await self._outbox.get()) is not None:
            yield message
