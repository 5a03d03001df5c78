"""gRPC for threads: the channel, unary calls and streams. Written by hand on both sides."""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import contextlib
import queue
import threading
import time
from typing import Generic, Protocol, TypeVar

import grpc

from sightline.connection import Connection
from sightline.errors import SightlineError
from sightline.rpcs import Request, Response, ServerStreamRpc, StreamRpc, UnaryRpc
from sightline.stream_errors import broken, ended, late

Received = TypeVar("Received", covariant=True)


class Transport:
    """Makes calls on one channel, which connects with the first call."""

    def __init__(self, connection: Connection) -> None:
        options = connection.channel_options()
        if connection.tls is None:
            self._channel = grpc.insecure_channel(connection.target, options)
        else:
            credentials = connection.tls.credentials()
            self._channel = grpc.secure_channel(connection.target, credentials, options)

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._channel.close()

    def unary(
        self, rpc: UnaryRpc[Request, Response]
    ) -> grpc.UnaryUnaryMultiCallable[Request, Response]:
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


class Call(Protocol[Received]):
    """The part used here of a gRPC call with many responses."""

    def __next__(self) -> Received:
        """The next response."""
        ...

    def cancel(self) -> object:
        """Cancel the call."""
        ...


class ResponseStream(Generic[Response]):
    """The responses of a streaming call; close it, for its watchdog keeps it alive."""

    _is_bidirectional = False

    def __init__(self, call: Call[Response], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._call = call
        self._due_s: float | None = None  # when the awaited response must be there
        self._has_expired = False
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="stream watchdog", daemon=True).start()
        self.has_answered = False

    def receive(self) -> Response:
        """The next response.

        Raises:
            SightlineError: the stream is broken; ``DeadlineExceeded`` when nothing came in time.
        """
        response = self._next()
        if response is None:
            raise ended()
        return response

    def _next(self) -> Response | None:
        """The next response; None when the server has ended the stream in good order."""
        self._due_s = time.monotonic() + self._timeout_s
        try:
            response = self._call.__next__()
        except StopIteration:
            return None
        except grpc.RpcError as error:
            if self._has_expired:
                raise late(self._timeout_s) from error
            raise broken(error, is_bidirectional=self._is_bidirectional) from error
        finally:
            self._due_s = None
        self.has_answered = True
        return response

    def finish(self) -> None:
        """Let the server end the call in good order."""
        with contextlib.suppress(SightlineError):  # nothing is missing, in good order or not
            self.receive()

    def close(self) -> None:
        """Cancel the call if it has not ended."""
        self._closed.set()
        self._call.cancel()

    def _watch(self) -> None:
        """Cancel the call when a response is overdue: ``next`` on a call has no time-out.

        It looks again after ``timeout_s`` at the latest, so no response falls due while it sleeps.
        """
        sleep_s = longest_s = min(self._timeout_s, threading.TIMEOUT_MAX)
        while not self._closed.wait(sleep_s):
            due_s = self._due_s
            sleep_s = longest_s if due_s is None else due_s - time.monotonic()
            if sleep_s <= 0:
                self._has_expired = True
                self._call.cancel()
                return


class BidirectionalStream(ResponseStream[Response], Generic[Request, Response]):
    """A call with messages in both directions; sending never blocks: gRPC has a thread for it."""

    _is_bidirectional = True

    def __init__(
        self, make: grpc.StreamStreamMultiCallable[Request, Response], timeout_s: float
    ) -> None:
        self._outbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        super().__init__(make(iter(self._outbox.get, None)), timeout_s)

    def send(self, message: Request) -> None:
        """Put a message into the outbox."""
        self._outbox.put(message)

    def last(self) -> Response | None:
        """End the outgoing messages; returns the response to the end, or None.

        Raises:
            SightlineError: the stream is broken.
        """
        self._outbox.put(None)
        response = self._next()
        if response is not None:
            super().finish()
        return response

    def finish(self) -> None:
        """End the outgoing messages, and let the server end the call in good order."""
        self._outbox.put(None)
        super().finish()

    def close(self) -> None:
        """Cancel the call if it has not ended."""
        self._outbox.put(None)  # releases gRPC's sending thread
        super().close()
