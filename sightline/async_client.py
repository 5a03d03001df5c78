"""The client for asyncio: the same methods as ``Client``, awaited."""

import asyncio
from typing import Self

from sightline.answers import ModelStatus, Task
from sightline.async_photo_verbs import AsyncPhotoVerbs
from sightline.async_sequence_verbs import AsyncSequenceVerbs
from sightline.connection import DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TARGET, Connection, Tls
from sightline.errors import DeadlineExceeded
from sightline.questions import selector
from sightline.replies import are_ready, describe_unready, task_number
from sightline.retry import DEFAULT_RETRY, DEFAULT_TIMEOUT_S, READY_POLL_S, Attempts, Retry
from sightline.v1.models_pb2 import GetModelRequest, ListModelsRequest


class AsyncClient(AsyncPhotoVerbs, AsyncSequenceVerbs):
    """Asks a Sightline server from one event loop, the one of its first call.

    Arguments, methods and errors are those of ``Client``, where they are described. Files are
    read off the event loop; a task that is cancelled cancels its call.
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._channel.close()

    async def models(
        self, *, task: Task | None = None, timeout_s: float | None = None
    ) -> list[ModelStatus]:
        """All models and versions the server knows, ready or not, ordered by name, then version."""
        request = ListModelsRequest(task=task_number(task))
        return await self._caller.models(request, self._timeout_s(timeout_s))

    async def model(
        self,
        name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelStatus:
        """One model, with the labels of its classes."""
        request = GetModelRequest(model=selector(name, version, label))
        return await self._caller.model(request, self._timeout_s(timeout_s))

    async def wait_until_ready(self, model: str | None = None, *, timeout_s: float = 60.0) -> None:
        """Return when the model may be asked, as ``Client.wait_until_ready``."""
        attempts = Attempts(self._retries, timeout_s)
        missing = f"no server answers at {self._connection.target}"
        try:
            while not are_ready(known := await self._known(model, attempts.remaining_s())):
                missing = describe_unready(known)
                await asyncio.sleep(READY_POLL_S)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"not ready within {timeout_s:g} s: {missing}") from error

    async def _known(self, model: str | None, timeout_s: float) -> list[ModelStatus]:
        """The model, or all models, as soon as a server can be reached at all."""
        if model is None:
            return await self._caller.models(ListModelsRequest(), timeout_s, wait_for_ready=True)
        named = GetModelRequest(model=selector(model))
        return [await self._caller.model(named, timeout_s, wait_for_ready=True)]
