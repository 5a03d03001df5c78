"""The client for ordinary (threaded) programs."""

import time
from collections.abc import Generator, Iterable
from typing import Self

from sightline.answers import Classification, ModelStatus, Outcome, Task
from sightline.calls import Caller, batches_of
from sightline.connection import DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TARGET, Connection, Tls
from sightline.errors import DeadlineExceeded
from sightline.images import Photo
from sightline.replies import are_ready, describe_unready, task_number
from sightline.requests import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_WINDOW,
    MAX_ITEMS_PER_REQUEST,
    BatchBuilder,
    InFlight,
    Question,
    only_answer,
    require_an_answer,
    selector,
)
from sightline.retry import DEFAULT_RETRY, DEFAULT_TIMEOUT_S, READY_POLL_S, Attempts, Retry
from sightline.v1.models_pb2 import GetModelRequest, ListModelsRequest


class Client:
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

    def classify(
        self,
        photo: Photo,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> Classification:
        """Ask what one photo shows.

        Args:
            photo: a path, the bytes of an image file, a uint8 array (``[H, W, 3]`` RGB or
                ``[H, W]`` grey) or a Pillow image.
            model: the model's name.
            version: which version; neither this nor ``label``: the stable one.
            label: which version, by the owner's name for it, such as ``canary``.
            top_k: how many labels to return, best first; None: 5.
            score_threshold: leave out labels that score below it, 0..1.
            timeout_s: how long it may take, all attempts together; None: the client's default.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` shows the kinds.
            FileNotFoundError, TypeError, ValueError: it is no photo, or an option is out of range.
        """
        question = Question(
            model=model, version=version, label=label, top_k=top_k, score_threshold=score_threshold
        )
        batch = self._builder(question, 1).one(photo)
        return only_answer(self._caller.ask(batch, self._timeout_s(timeout_s)))

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Outcome]:
        """Ask what each of many photos shows: one outcome a photo, in order.

        A photo that cannot be read, here or on the server, is an ``ItemFailed`` and does not
        spoil the others; when there is not a single answer, the first error is raised. Up to 64
        photos travel in a request, fewer where they would be over the message limit, and
        ``timeout_s`` is for each request.
        """
        question = Question(
            model=model, version=version, label=label, top_k=top_k, score_threshold=score_threshold
        )
        limit_s, outcomes = self._timeout_s(timeout_s), list[Outcome]()
        for batch in batches_of(photos, self._builder(question, MAX_ITEMS_PER_REQUEST)):
            outcomes += self._caller.ask(batch, limit_s)
        return require_an_answer(outcomes)

    def classify_stream(
        self,
        photos: Iterable[Photo],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """Ask about any number of photos: outcomes in order, as they come, in bounded memory.

        Photos are taken from the iterable only as outcomes are taken from the result: at most
        ``window`` messages of ``batch_size`` photos are under way. Every failure of a photo is
        an ``ItemFailed``. When the connection is lost, the stream is opened again, and what had
        no answer yet is sent again. ``timeout_s`` is the longest wait for the next answer.

        Raises:
            SightlineError: from the iterator, when the stream could not be kept up.
        """
        question = Question(
            model=model, version=version, label=label, top_k=top_k, score_threshold=score_threshold
        )
        batches = batches_of(photos, self._builder(question, batch_size))
        return self._caller.stream(batches, InFlight(window), self._timeout_s(timeout_s))

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

    def _builder(self, question: Question, max_items: int) -> BatchBuilder:
        return BatchBuilder(
            question, max_items=max_items, max_message_bytes=self._connection.max_message_bytes
        )

    def _timeout_s(self, timeout_s: float | None) -> float:
        return self._default_timeout_s if timeout_s is None else timeout_s
