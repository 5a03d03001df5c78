# Generated from sightline/_async/client.py by `make twins`: edit that file.

"""``Client``: the methods of each task, and those that ask for the models."""

from typing import Self

from sightline._sync.calls import Caller
from sightline._sync.classification_methods import ClassificationMethods
from sightline._sync.detection_methods import DetectionMethods
from sightline._sync.glue import sleep
from sightline._sync.segmentation_methods import SegmentationMethods
from sightline._sync.sequence_methods import SequenceMethods
from sightline._sync.transport import Transport
from sightline.connection import DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TARGET, Connection, Tls
from sightline.errors import DeadlineExceeded
from sightline.requests.query import selector
from sightline.results.models import ModelStatus, Task
from sightline.results.read_models import are_ready, describe_unready, task_number
from sightline.retry import DEFAULT_RETRY, DEFAULT_TIMEOUT_S, READY_POLL_S, Attempts, Retry
from sightline.suggestions import suggests_arguments
from sightline.v1.models_pb2 import GetModelRequest, ListModelsRequest


@suggests_arguments
class Client(ClassificationMethods, SegmentationMethods, DetectionMethods, SequenceMethods):
    """Asks a Sightline server; threads may share it.

    ``with`` closes it.

    Args:
        target: ``host:port``, or any name that gRPC resolves, such as ``dns:///models.svc:8001``;
            calls are balanced over the addresses.
        tls: how to encrypt; None sends everything in the clear.
        max_message_bytes: largest request or answer; the server has a limit of its own.
        retries: how often a call is repeated when the server is away or full.
        default_timeout_s: how long a call may take with all its attempts, if the call does not
            say.
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
        self._transport = Transport(self._connection)
        self._caller = Caller(self._transport, retries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._transport.close()

    def models(
        self, *, task: Task | None = None, timeout_s: float | None = None
    ) -> list[ModelStatus]:
        """All models and versions the server knows, ready or not, ordered by name and version."""
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
        """Return when the model is ready; without a name, when no model is loading any more.

        Raises:
            Unavailable: the model, or every model, has failed to load; the message says why.
            DeadlineExceeded: it was not ready in time; the message says what was missing.
        """
        attempts = Attempts(self._retries, timeout_s)
        missing = f"no server answers at {self._connection.target}"
        try:
            while not are_ready(known := self._known(model, attempts.remaining_s())):
                missing = describe_unready(known)
                sleep(READY_POLL_S)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"not ready within {timeout_s:g} s: {missing}") from error

    def _known(self, model: str | None, timeout_s: float) -> list[ModelStatus]:
        """The model, or all models, as soon as a server can be reached."""
        if model is None:
            return self._caller.models(ListModelsRequest(), timeout_s, wait_for_ready=True)
        named = GetModelRequest(model=selector(model))
        return [self._caller.model(named, timeout_s, wait_for_ready=True)]
