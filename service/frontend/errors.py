"""Every error that a client can receive.

ServiceError
├── InvalidInput          INVALID_ARGUMENT     retrying the same request cannot help
├── ModelNotFound         NOT_FOUND            no such model, version or label
├── WrongTask             FAILED_PRECONDITION  the model is for another task
├── ModelUnavailable      UNAVAILABLE          loading, failed to load, or without a worker
├── Overloaded            RESOURCE_EXHAUSTED   queue or slots are full: retry with backoff
├── DeadlineExpired       DEADLINE_EXCEEDED    the deadline has passed, or cannot be met
├── CallCancelled         CANCELLED            the client has cancelled the call
├── StateLost             ABORTED              a stream's state was lost with its worker
├── RunFailed             INTERNAL             the model's run raised an error
└── PoisonousInput        INTERNAL             the input has killed two workers

The interceptor (``interceptors.py``) turns these into statuses; nothing else calls ``abort``.
"""

import grpc

INTERNAL_ERROR = "internal error; the server's log says more"
CALL_CANCELLED = "the client cancelled the call"


class ServiceError(Exception):
    """A failure that is reported to the client. Each subclass is one gRPC status."""

    code: grpc.StatusCode


class InvalidInput(ServiceError):
    """Retrying the same request cannot help."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class ModelNotFound(ServiceError):
    """No such model, version or label."""

    code = grpc.StatusCode.NOT_FOUND


class WrongTask(ServiceError):
    """The model is for another task."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class ModelUnavailable(ServiceError):
    """The model is loading, has failed to load, or has no worker left."""

    code = grpc.StatusCode.UNAVAILABLE


class Overloaded(ServiceError):
    """The queue or the slots are full. Retry with backoff."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExpired(ServiceError):
    """The deadline has passed, or the time left is too short."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class CallCancelled(ServiceError):
    """The client has cancelled the call, or is gone."""

    code = grpc.StatusCode.CANCELLED


class StateLost(ServiceError):
    """The state of a ``Follow`` stream is lost. Open another stream and send the history again."""

    code = grpc.StatusCode.ABORTED


class RunFailed(ServiceError):
    """The model's run raised an error."""

    code = grpc.StatusCode.INTERNAL


class PoisonousInput(ServiceError):
    """The input was in the run that killed a worker, twice; the second time it ran alone."""

    code = grpc.StatusCode.INTERNAL
