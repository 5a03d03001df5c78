"""Everything a client can be told.

ServiceError
├── InvalidInput          INVALID_ARGUMENT     retrying the same request cannot help
├── ModelNotFound         NOT_FOUND            no such model, version or label
├── WrongTask             FAILED_PRECONDITION  the model answers another kind of question
├── ModelUnavailable      UNAVAILABLE          loading, failed to load, or no worker left
├── Overloaded            RESOURCE_EXHAUSTED   queue or slots are full: retry with backoff
├── DeadlineExpired       DEADLINE_EXCEEDED    the caller's time ran out, or cannot suffice
├── CallerLeft            CANCELLED            nobody waits for the answer any more
├── StateLost             ABORTED              a stream's state went with its worker: begin again
├── RunFailed             INTERNAL             the model's run raised an error
└── PoisonousInput        INTERNAL             the input has killed two workers

The door (``interceptors.py``) turns these into statuses; nothing else calls ``abort``.
"""

import grpc

INTERNAL_ERROR = "internal error; the server's log says more"
CALLER_CANCELLED = "the caller cancelled the call"


class ServiceError(Exception):
    """A failure the client is told about. Each subclass is one gRPC status."""

    code: grpc.StatusCode


class InvalidInput(ServiceError):
    """Retrying the same request cannot help."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class ModelNotFound(ServiceError):
    """No such model, version or label."""

    code = grpc.StatusCode.NOT_FOUND


class WrongTask(ServiceError):
    """The model answers another kind of question."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class ModelUnavailable(ServiceError):
    """The model is loading, has failed to load, or has no worker left."""

    code = grpc.StatusCode.UNAVAILABLE


class Overloaded(ServiceError):
    """The queue or the slots are full. Retry with backoff."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExpired(ServiceError):
    """The caller's time ran out, or what is left of it cannot suffice."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class CallerLeft(ServiceError):
    """Nobody waits for the answer any more."""

    code = grpc.StatusCode.CANCELLED


class StateLost(ServiceError):
    """The state of a ``Follow`` stream is gone. Open another one and send the history again."""

    code = grpc.StatusCode.ABORTED


class RunFailed(ServiceError):
    """The model's run raised an error."""

    code = grpc.StatusCode.INTERNAL


class PoisonousInput(ServiceError):
    """The input was in the run that killed a worker, twice; the second time it ran alone."""

    code = grpc.StatusCode.INTERNAL
