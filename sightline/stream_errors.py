"""How a streaming call ends too early, as errors of this package.

A server, or a proxy before it, may end a long stream at any time. The client treats this as a lost
connection (``Unavailable``), and opens another stream where that is safe. A stream has no deadline
as a whole, because the caller decides its length; the wait for each response is bounded instead.
"""

import grpc

from sightline.errors import DeadlineExceeded, SightlineError, Unavailable, from_rpc_error

# With asyncio, gRPC replaces the server's status by this INTERNAL when a stream ends while a
# message is being sent (github.com/grpc/grpc/issues/36066). The next stream shows the reason.
_STATUS_LOST = "Internal error from Core"
_ENDED = "the server ended the stream before it had answered everything"


def late(timeout_s: float) -> DeadlineExceeded:
    """No response came in time."""
    return DeadlineExceeded(f"the next answer of the stream did not come within {timeout_s:g} s")


def ended() -> Unavailable:
    """The stream ended in good order, but with responses missing."""
    return Unavailable(_ENDED)


def broken(error: grpc.RpcError, *, is_bidirectional: bool) -> SightlineError:
    """The error of a stream that gRPC ended."""
    if error.details() == _STATUS_LOST:
        return Unavailable(_ENDED)
    if is_bidirectional and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        # The client sets no deadline on such a stream, so this one is the server's: for the whole
        # stream, or for the next message. Another stream starts with a new one.
        return Unavailable(f"{_ENDED}: {from_rpc_error(error)}")
    return from_rpc_error(error)
