"""A query: what is asked about each item, with its options, checked; and how to read the answers.

An option that is always wrong is a ``ValueError`` before anything is sent. The server checks what
depends on the model, such as labels and tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from google.protobuf.message import Message

from sightline.errors import ServerError, from_item_error
from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Answer, ItemFailed, Outcome, Timing
from sightline.results.read_models import read_identity, read_timing
from sightline.rpcs import StreamRpc, UnaryRpc
from sightline.v1 import models_pb2

Value = TypeVar("Value", int, float)


def selector(
    name: str, version: int | None = None, label: str | None = None
) -> models_pb2.ModelSelector:
    """The message that names a model, and a version if one is given.

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
class Query(ABC, Generic[Answer]):
    """What is asked about each item, an image or a history."""

    rpc: ClassVar[UnaryRpc[Any, Any]]
    item_name: ClassVar[str]
    """The items' name in error messages, in the plural."""
    reads_files: ClassVar[bool] = False
    """Whether an item may be the path of a file."""
    is_slow_to_read: ClassVar[bool] = False
    """Whether an answer takes milliseconds to decode, such as a large mask."""

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
        """The message for what the caller passed.

        Raises:
            OSError, TypeError, ValueError: it is no such item; the text says what to do.
            MessageTooLarge: it is larger than ``max_bytes``.
        """

    @abstractmethod
    def request(self, items: Sequence[Any]) -> Message:
        """The request for these items."""

    @abstractmethod
    def answer(self, result: Any, model: ModelIdentity, timing: Timing) -> Answer:
        """The answer in the result of one item, which is no error."""

    def read(self, response: Any, *, expected: int) -> list[Outcome[Answer]]:
        """One outcome for each item, in the order of the request.

        Raises:
            ServerError: the answer cannot be read, or has another number of items.
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


class StreamQuery(Query[Answer]):
    """A query that may be asked on a stream, about any number of items."""

    stream_rpc: ClassVar[StreamRpc[Any, Any]]


def check_range(name: str, value: Value | None, low: Value, high: Value) -> None:
    """Refuse what is out of range, NaN included; None means the server's default.

    Raises:
        ValueError: it is out of range.
    """
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} is {low} to {high}, not {value}")
