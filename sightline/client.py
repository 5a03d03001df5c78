"""The client for ordinary (threaded) programs."""

import time
from typing import Self

from sightline.answers import ModelStatus, Task
from sightline.calls import Caller
from sightline.connection import DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TARGET, Connection, Tls
from sightline.errors import DeadlineExceeded
from sightline.photo_verbs import PhotoVerbs
from sightline.questions import selector
from sightline.replies import are_ready, describe_unready, task_number
from sightline.retry import DEFAULT_RETRY, DEFAULT_TIMEOUT_S, READY_POLL_S, Attempts, Retry
from sightline.sequence_verbs import SequenceVerbs
from sightline.v1.models_pb2 import GetModelRequest, ListModelsRequest


class Client(PhotoVerbs, SequenceVerbs):
    """Asks a Sightline server; may be shared by threads, and is closed by ``with``.

    Args:
        target: ``host:port``, or any name gRPC resolves, such as ``dns:///models.svc:8001``; calls
            are balanced over the addresses it resolves to.
        tls: how to encrypt; None: not at all.
        max_message_bytes: largest request or answer; the server has a limit of its own.
        retries: how often a call is made again when the server is away or full.
        default_timeout_s: how long a call may take, all its attempts together, where the call
            does not say.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        tls: Tls | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        retries: Retry = DEFAULT_RETRY,
        default_timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._connection = Connection(target=target, tls=tls, max_message_bytes=max_message_bytes)
        self._retries = retries
        self._default_timeout_s = default_timeout_s
        self._channel = self._connection.open()
        self._caller = Caller(self._channel, retries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._channel.close()

    def models(
        self, *, task: Task | None = None, timeout_s: float | None = None
    ) -> list[ModelStatus]:
        """All models and versions the server knows, ready or not, ordered by name, then version."""
        request = ListModelsRequest(task=task_number(task))
        return self._caller.models(request, self._timeout_s(timeout_s))

    def model(
        self,
        name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelStatus:
        """One model, with the labels of its classes."""
        request = GetModelRequest(model=selector(name, version, label))
        return self._caller.model(request, self._timeout_s(timeout_s))

    def wait_until_ready(self, model: str | None = None, *, timeout_s: float = 60.0) -> None:
        """Return when the model may be asked; without a name, when nothing is loading any more.

        Raises:
            Unavailable: what was waited for has failed to load; the message says why.
            DeadlineExceeded: it was not ready in time; the message says what was missing.
        """
        attempts = Attempts(self._retries, timeout_s)
        missing = f"no server answers at {self._connection.target}"
        try:
            while not are_ready(known := self._known(model, attempts.remaining_s())):
                missing = describe_unready(known)
                time.sleep(READY_POLL_S)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"not ready within {timeout_s:g} s: {missing}") from error

    def _known(self, model: str | None, timeout_s: float) -> list[ModelStatus]:
        """The model, or all models, as soon as a server can be reached at all."""
        if model is None:
            return self._caller.models(ListModelsRequest(), timeout_s, wait_for_ready=True)
        named = GetModelRequest(model=selector(model))
        return [self._caller.model(named, timeout_s, wait_for_ready=True)]
