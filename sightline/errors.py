"""Everything that can go wrong on the way to an answer.

SightlineError
├── InvalidInput       INVALID_ARGUMENT, OUT_OF_RANGE     the same request can never succeed
│   └── MessageTooLarge                                   over a message limit, here or there
├── ModelNotFound      NOT_FOUND                          no such model, version or label
├── WrongTask          FAILED_PRECONDITION                the model has another task
├── Unavailable        UNAVAILABLE, ABORTED               no server, or no model ready: retried
├── Overloaded         RESOURCE_EXHAUSTED                 the server is full: retried
├── DeadlineExceeded   DEADLINE_EXCEEDED                  ``timeout_s`` ran out
├── Cancelled          CANCELLED                          the call was cancelled
├── Unauthenticated    UNAUTHENTICATED                    the server does not know the caller
├── PermissionDenied   PERMISSION_DENIED                  the server knows the caller, and refuses
└── ServerError        every other status                 the server's own fault

The gRPC error, where there was one, is the ``__cause__``. An image that cannot be read on this
side raises ``FileNotFoundError``, ``TypeError`` or ``ValueError``, as Python does.
"""

import math
from collections.abc import Iterable
from typing import cast

import grpc
from grpc import StatusCode


class SightlineError(Exception):
    """A call that got no answer; see the module for the kinds."""

    code: StatusCode = StatusCode.UNKNOWN
    """The gRPC status."""
    retry_after_s: float | None = None
    """How long the server asks to wait; infinite for ever; None if it did not say."""

    def __init__(
        self, message: str, *, code: StatusCode | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.retry_after_s = retry_after_s


class InvalidInput(SightlineError):
    """The same request can never succeed; the message says what to change."""

    code = StatusCode.INVALID_ARGUMENT


class MessageTooLarge(InvalidInput):
    """A request or an answer is over a message limit; the message names the setting."""


class ModelNotFound(SightlineError):
    """The server has no such model, version or label."""

    code = StatusCode.NOT_FOUND


class WrongTask(SightlineError):
    """The model has another task, such as detection."""

    code = StatusCode.FAILED_PRECONDITION


class Unavailable(SightlineError):
    """No server was reached, or the model is not ready; retrying did not help."""

    code = StatusCode.UNAVAILABLE


class Overloaded(SightlineError):
    """The server is full; retrying did not help."""

    code = StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceeded(SightlineError):
    """The answer did not come within ``timeout_s``."""

    code = StatusCode.DEADLINE_EXCEEDED


class Cancelled(SightlineError):
    """The call was cancelled, here or on the server."""

    code = StatusCode.CANCELLED


class Unauthenticated(SightlineError):
    """The server does not know the caller."""

    code = StatusCode.UNAUTHENTICATED


class PermissionDenied(SightlineError):
    """The server knows the caller, and refuses."""

    code = StatusCode.PERMISSION_DENIED


class ServerError(SightlineError):
    """The server failed, or does not speak this protocol; its log says more."""

    code = StatusCode.INTERNAL


ERROR_OF_STATUS: dict[StatusCode, type[SightlineError]] = {
    StatusCode.INVALID_ARGUMENT: InvalidInput,
    StatusCode.OUT_OF_RANGE: InvalidInput,
    StatusCode.NOT_FOUND: ModelNotFound,
    StatusCode.FAILED_PRECONDITION: WrongTask,
    StatusCode.UNAVAILABLE: Unavailable,
    StatusCode.ABORTED: Unavailable,
    StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    StatusCode.CANCELLED: Cancelled,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
    StatusCode.PERMISSION_DENIED: PermissionDenied,
    StatusCode.ALREADY_EXISTS: ServerError,
    StatusCode.UNIMPLEMENTED: ServerError,
    StatusCode.INTERNAL: ServerError,
    StatusCode.UNKNOWN: ServerError,
    StatusCode.DATA_LOSS: ServerError,
}

_STATUS_OF_NUMBER = {status.value[0]: status for status in StatusCode}
# Written by gRPC itself, on whichever side the limit was met.
_TOO_LARGE = "message larger than max"
_TOO_MUCH_METADATA = "metadata size exceeds"
_UNREACHED = "failed to connect"
# gRPC's own text, when the server gives none.
_PLAIN = {"Deadline Exceeded": "the answer did not come within timeout_s"}
_RETRY_HINTS = ("retry-after-ms", "grpc-retry-pushback-ms")


def from_rpc_error(error: grpc.RpcError) -> SightlineError:
    """Turn gRPC's error, from either client, into one of ours."""
    status = error.code()
    message = _PLAIN.get(error.details() or "", error.details()) or status.value[1]
    if status is StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in message:
        return MessageTooLarge(
            f"{message}: raise Client(max_message_bytes=...) here or the server's"
            " SIGHTLINE_SERVER__MAX_MESSAGE_BYTES, or send less at once",
            code=status,
        )
    if status is StatusCode.RESOURCE_EXHAUSTED and _TOO_MUCH_METADATA in message:
        return MessageTooLarge(
            f"{message}: send less metadata, or raise the server's"
            " SIGHTLINE_SERVER__MAX_METADATA_BYTES",
            code=status,
        )
    if status is StatusCode.UNAVAILABLE and _UNREACHED in message.lower():
        message += (
            "; is a server running there (`sightline serve` starts one), is this its gRPC port, and"
            " does it use TLS where this client does, and only there?"
        )
    return ERROR_OF_STATUS[status](message, code=status, retry_after_s=_retry_hint_s(error))


def from_item_error(number: int, message: str) -> SightlineError:
    """Turn the error of one item, a canonical status number and a sentence, into one of ours."""
    status = _STATUS_OF_NUMBER.get(number, StatusCode.UNKNOWN)
    return ERROR_OF_STATUS.get(status, ServerError)(message, code=status)


def _retry_hint_s(error: grpc.RpcError) -> float | None:
    # The two kinds of channel have different containers; both hold pairs.
    trailers = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in trailers:
        if key in _RETRY_HINTS:
            try:
                milliseconds = float(value)
            except ValueError:
                continue
            return milliseconds / 1000 if milliseconds >= 0 else math.inf
    return None
