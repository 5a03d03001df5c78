"""gRPC on an event loop: the channel, unary calls and streams. Written by hand on both sides."""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any, Generic, cast

import grpc
import grpc.aio

from sightline.connection import Connection
from sightline.errors import SightlineError
from sightline.rpcs import Request, Response, ServerStreamRpc, StreamRpc, UnaryRpc
from sightline.stream_errors import broken, ended, late


class Transport:
    """Makes calls on one channel, which connects with the first call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # Not in __init__: it belongs to the running loop, and a client may be made outside of one.
        where, options = self._connection, self._connection.channel_options()
        if where.tls is None:
            return grpc.aio.insecure_channel(where.target, options)
        return grpc.aio.secure_channel(where.target, where.tls.credentials(), options)

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    def unary(
        self, rpc: UnaryRpc[Request, Response]
    ) -> grpc.aio.UnaryUnaryMultiCallable[Request, Response]:
        """The callable that makes a unary call."""
        return self._channel.unary_unary(
            rpc.path, rpc.request.SerializeToString, rpc.response.FromString
        )

    def server_stream(
        self, rpc: ServerStreamRpc[Request, Response], request: Request, timeout_s: float
    ) -> ResponseStream[Response]:
        """Send one message; each response is awaited for ``timeout_s``."""
        make = self._channel.unary_stream(
            rpc.path, rpc.request.SerializeToString, rpc.response.FromString
        )
        return ResponseStream(make(request), timeout_s)

    def stream(
        self, rpc: StreamRpc[Request, Response], timeout_s: float
    ) -> BidirectionalStream[Request, Response]:
        """Open a stream of messages in both directions; each response is awaited as above."""
        make = self._channel.stream_stream(
            rpc.path, rpc.request.SerializeToString, rpc.response.FromString
        )
        return BidirectionalStream(make, timeout_s)


class ResponseStream(Generic[Response]):
    """The responses of a streaming call; one that is dropped is cancelled by gRPC itself."""

    _is_bidirectional = False

    def __init__(
        self,
        call: grpc.aio.StreamStreamCall[Any, Response] | grpc.aio.UnaryStreamCall[Any, Response],
        timeout_s: float,
    ) -> None:
        self._timeout_s = timeout_s
        self._call = call
        self.has_answered = False

    async def receive(self) -> Response:
        """The next response.

        Raises:
            SightlineError: the stream is broken; ``DeadlineExceeded`` when nothing came in time.
        """
        response = await self._next()
        if response is None:
            raise ended()
        return response

    async def _next(self) -> Response | None:
        """The next response; None when the server has ended the stream in good order."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._call.read()
        except TimeoutError:
            raise late(self._timeout_s) from None
        except grpc.RpcError as error:
            raise broken(error, is_bidirectional=self._is_bidirectional) from error
        if response is grpc.aio.EOF:
            return None
        self.has_answered = True
        return cast(Response, response)

    async def finish(self) -> None:
        """Let the server end the call in good order."""
        with contextlib.suppress(SightlineError):  # nothing is missing, in good order or not
            await self.receive()

    def close(self) -> None:
        """Cancel the call if it has not ended."""
        self._call.cancel()


class BidirectionalStream(ResponseStream[Response], Generic[Request, Response]):
    """A call with messages in both directions; sending never blocks: gRPC has a task for it."""

    _is_bidirectional = True

    def __init__(
        self, make: grpc.aio.StreamStreamMultiCallable[Request, Response], timeout_s: float
    ) -> None:
        self._outbox = _Outbox[Request]()
        super().__init__(make(self._outbox), timeout_s)

    def send(self, message: Request) -> None:
        """Put a message into the outbox."""
        self._outbox.put_nowait(message)

    async def last(self) -> Response | None:
        """End the outgoing messages; returns the response to the end, or None.

        Raises:
            SightlineError: the stream is broken.
        """
        self._outbox.put_nowait(None)
        response = await self._next()
        if response is not None:
            await super().finish()
        return response

    async def finish(self) -> None:
        """End the outgoing messages, and let the server end the call in good order."""
        self._outbox.put_nowait(None)
        await super().finish()

    def close(self) -> None:
        """Cancel the call if it has not ended."""
        self._outbox.put_nowait(None)  # releases gRPC's sending task
        super().close()


class _Outbox(asyncio.Queue[Request | None]):
    """The messages to send, up to None. Not a generator: gRPC drops it without closing it."""

    def __aiter__(self) -> AsyncIterator[Request]:
        return self

    async def __anext__(self) -> Request:
        if (message := await self.get()) is None:
            raise StopAsyncIteration
        return message
