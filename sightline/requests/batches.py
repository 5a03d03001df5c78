"""Items, cut into requests that fit, and the window of a stream; both clients share it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic

from google.protobuf.message import Message

from sightline.errors import (
    InvalidInput,
    MessageTooLarge,
    ModelNotFound,
    PermissionDenied,
    ServerError,
    SightlineError,
    Unauthenticated,
    Unavailable,
    WrongTask,
    from_item_error,
)
from sightline.requests.query import Query, StreamQuery
from sightline.results.outcomes import Answer, ItemFailed, Outcome
from sightline.retry import RETRYABLE

MAX_ITEMS_PER_REQUEST = 64
"""The server's default for ``limits.max_items_per_request``."""
DEFAULT_BATCH_SIZE = 16
DEFAULT_WINDOW = 8
# The frame of a stream's message: its number, and the tag and length of the request.
_RESERVED_BYTES = 64
# The most that protobuf adds to one item: a tag and a length.
_FRAME_BYTES = 8


@dataclass(frozen=True, slots=True)
class Batch(Generic[Answer]):
    """Items (images or histories) of one request.

    An item that could not be read is an ``ItemFailed`` among them, and is not sent.
    """

    query: Query[Answer]
    items: tuple[Message | ItemFailed, ...]

    @property
    def sent(self) -> list[Message]:
        """The items that are sent."""
        return [item for item in self.items if isinstance(item, Message)]

    @property
    def request(self) -> Message:
        """The request for the items that are sent."""
        return self.query.request(self.sent)

    def read(self, response: Message) -> list[Outcome[Answer]]:
        """One outcome for each item, in order, those included that were not sent."""
        answers = iter(self.query.read(response, expected=len(self.sent)))
        return [item if isinstance(item, ItemFailed) else next(answers) for item in self.items]

    def error_in(self, answer: Any) -> SightlineError | None:
        """Why the whole batch failed on a stream; None if it did not."""
        if answer.HasField("response"):
            return None
        return from_item_error(answer.error.code, answer.error.message)

    def unsent(self) -> list[Outcome[Answer]]:
        """The outcomes of a batch without an item to send."""
        return [item for item in self.items if isinstance(item, ItemFailed)]

    def failed(self, error: SightlineError) -> list[Outcome[Answer]]:
        """The outcomes when the whole request failed."""
        return [item if isinstance(item, ItemFailed) else ItemFailed(error) for item in self.items]

    def singles(self) -> Iterator[Batch[Answer]]:
        """The same items, each on its own."""
        return (Batch(self.query, (item,)) for item in self.items)


class BatchBuilder(Generic[Answer]):
    """Gathers items until a request is full, by number or by size."""

    def __init__(self, query: Query[Answer], *, max_items: int, max_message_bytes: int) -> None:
        if max_items < 1:
            raise ValueError(f"a batch holds 1 item or more, not {max_items}")
        self._query = query
        self._max_items = max_items
        # The model's name and the options take the same room in each request.
        self._capacity_bytes = max_message_bytes - _RESERVED_BYTES - query.request(()).ByteSize()
        self._items: list[Message | ItemFailed] = []
        self._bytes = 0
        self.reads_files = query.reads_files

    def one(self, given: object) -> Batch[Answer]:
        """A batch of this item alone; it raises what ``Query.item`` raises."""
        return Batch(self._query, (self._query.item(given, max_bytes=self._item_bytes),))

    def add(self, given: object) -> Batch[Answer] | None:
        """Add an item; returns the batch that it filled, or that had no room for it."""
        item = self._read(given)
        size = item.ByteSize() + _FRAME_BYTES if isinstance(item, Message) else 0
        full = self.rest() if self._bytes + size > self._capacity_bytes else None
        self._items.append(item)
        self._bytes += size
        return full or (self.rest() if len(self._items) == self._max_items else None)

    def rest(self) -> Batch[Answer] | None:
        """A batch of the items gathered so far, if any."""
        items, self._items, self._bytes = tuple(self._items), [], 0
        return Batch(self._query, items) if items else None

    @property
    def _item_bytes(self) -> int:
        return self._capacity_bytes - 4 * _FRAME_BYTES  # for the shape of pixels

    def _read(self, given: object) -> Message | ItemFailed:
        try:
            return self._query.item(given, max_bytes=self._item_bytes)
        except MessageTooLarge as error:
            return ItemFailed(error)
        except (OSError, ValueError) as error:
            failure = InvalidInput(_sentence(error))
            failure.__cause__ = error
            return ItemFailed(failure)


class InFlight(Generic[Answer]):
    """The batches of a stream without an outcome, in order; at most ``window``."""

    def __init__(self, query: StreamQuery[Answer], window: int) -> None:
        if window < 1:
            raise ValueError(f"the window is 1 batch or more, not {window}")
        self.rpc = query.stream_rpc
        self._window = window
        self._batches: deque[tuple[int, Batch[Answer]]] = deque()
        self._next_id = 0

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def has_room(self) -> bool:
        """Whether another batch may be sent before the next answer."""
        return len(self._batches) < self._window

    def add(self, batch: Batch[Answer]) -> list[Message]:
        """Add a batch at the end; returns the messages to send, none if it has no item to send."""
        self._batches.append((self._next_id, batch))
        self._next_id += 1
        return self._messages(*self._batches[-1])

    def messages(self) -> list[Message]:
        """What a new stream must be sent: everything that the last one left unanswered."""
        return [message for entry in self._batches for message in self._messages(*entry)]

    @property
    def awaits_answer(self) -> bool:
        """Whether the first batch was sent; one without an item to send only keeps its place."""
        return bool(self._batches[0][1].sent)

    def pop(self, answer: Any | None) -> Batch[Answer]:
        """Remove the first batch.

        Raises:
            ServerError: the answer is for another batch.
        """
        number, batch = self._batches.popleft()
        if answer is not None and answer.id != number:
            raise ServerError(f"the server answered message {answer.id} when {number} was next")
        return batch

    def _messages(self, number: int, batch: Batch[Answer]) -> list[Message]:
        if not batch.sent:
            return []
        return [self.rpc.request(id=number, request=batch.request)]


def request_alone(batch: Batch[Any], error: SightlineError) -> bool:
    """Whether a batch that failed in a stream should be sent again as a call of its own.

    Such a call is retried, and sends each item alone when all of them were refused.
    """
    if isinstance(error, InvalidInput):
        return len(batch.items) > 1
    return error.code in RETRYABLE


def concerns_all(error: SightlineError) -> bool:
    """Whether the same error would end all later requests, too."""
    return isinstance(
        error, Unavailable | Unauthenticated | PermissionDenied | ModelNotFound | WrongTask
    )


def require_an_answer(outcomes: list[Outcome[Answer]]) -> list[Outcome[Answer]]:
    """The outcomes, unless all have failed: then the first error is raised."""
    if outcomes and all(isinstance(outcome, ItemFailed) for outcome in outcomes):
        only_answer(outcomes[:1])
    return outcomes


def only_answer(outcomes: list[Outcome[Answer]]) -> Answer:
    """The answer of a batch of one; its error is raised."""
    (outcome,) = outcomes
    if isinstance(outcome, ItemFailed):
        raise outcome.error
    return outcome


def _sentence(error: Exception) -> str:
    """The error for users, without the system's error number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
