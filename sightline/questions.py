"""What is asked, for each task: its options, checked, and the message they become.

Pure, shared by both clients. An option that can be seen to be impossible is a ``ValueError`` before
anything is sent; what only the model can know (its labels, its vocabulary) the server refuses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypedDict, TypeVar

from google.protobuf.message import Message

from sightline.answers import Answer, ItemFailed, ModelIdentity, Outcome, Timing
from sightline.errors import ServerError, from_item_error
from sightline.replies import read_identity, read_timing
from sightline.rpcs import StreamRpc, UnaryRpc
from sightline.v1 import models_pb2

Value = TypeVar("Value", int, float)


class Which(TypedDict, total=False):
    """Which version of the model."""

    version: int | None
    """By its number; neither this nor ``label``: the stable one."""
    label: str | None
    """By the owner's name for it, such as ``canary``."""


def selector(
    name: str, version: int | None = None, label: str | None = None
) -> models_pb2.ModelSelector:
    """The message that names a model and, optionally, one of its versions.

    Raises:
        ValueError: both a version and a label, or a value that no model can have.
    """
    if not name:
        raise ValueError("name the model: model='...'; client.models() lists them")
    if version is not None and label is not None:
        raise ValueError("pass a version or a label, not both")
    if version is not None and not 1 <= version < 1 << 32:
        raise ValueError(f"a version is 1 and up, not {version}")
    return models_pb2.ModelSelector(name=name, version=version, label=label)


@dataclass(frozen=True, kw_only=True)
class Question(ABC, Generic[Answer]):
    """What is asked about each item: a photo, or a history."""

    rpc: ClassVar[UnaryRpc[Any, Any]]
    item_name: ClassVar[str]
    """What the items are, for people: many of them."""
    reads_files: ClassVar[bool] = False
    """Whether an item may be the path of a file."""
    is_slow_to_read: ClassVar[bool] = False
    """Whether an answer takes milliseconds to unpack, such as a large mask."""

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        self.selector()

    def selector(self) -> models_pb2.ModelSelector:
        """The message that names the model."""
        return selector(self.model, self.version, self.label)

    @abstractmethod
    def item(self, given: Any, *, max_bytes: int) -> Message:
        """The message for what a caller passed.

        Raises:
            OSError, TypeError, ValueError: it cannot be one; the text says what to do.
            MessageTooLarge: it is larger than ``max_bytes``.
        """

    @abstractmethod
    def about(self, items: Sequence[Any]) -> Message:
        """The request that asks it about these items."""

    @abstractmethod
    def answer(self, result: Any, model: ModelIdentity, timing: Timing) -> Answer:
        """What the result for one item says; it is not an error."""

    def read(self, response: Any, *, expected: int) -> list[Outcome[Answer]]:
        """One outcome an item, in the order of the request.

        Raises:
            ServerError: the server answered what cannot be read, or another number of items.
        """
        if len(response.results) != expected:
            raise ServerError(
                f"the server answered {len(response.results)} of {expected} {self.item_name}"
            )
        model, timing = read_identity(response.model), read_timing(response.timing)
        return [self._outcome(result, model, timing) for result in response.results]

    def _outcome(self, result: Any, model: ModelIdentity, timing: Timing) -> Outcome[Answer]:
        if result.WhichOneof("outcome") in ("error", None):
            return ItemFailed(from_item_error(result.error.code, result.error.message))
        try:
            return self.answer(result, model, timing)
        except ValueError as error:
            raise ServerError(f"the server's answer cannot be read: {error}") from error


class StreamQuestion(Question[Answer]):
    """One that may be asked about any number of items on a stream."""

    stream_rpc: ClassVar[StreamRpc[Any, Any]]


def check_range(name: str, value: Value | None, low: Value, high: Value) -> None:
    """Refuse what is out of range, NaN among it; None is left to the server.

    Raises:
        ValueError: it is.
    """
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} is {low} to {high}, not {value}")
