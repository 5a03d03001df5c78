"""What is asked, cut into requests that fit: pure, shared by both clients."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sightline.answers import Classification, ItemFailed, Outcome
from sightline.errors import (
    InvalidInput,
    MessageTooLarge,
    ServerError,
    SightlineError,
    from_item_error,
)
from sightline.images import Photo, image_from
from sightline.replies import read_classifications
from sightline.retry import RETRYABLE
from sightline.v1 import classification_pb2, image_pb2, models_pb2

MAX_ITEMS_PER_REQUEST = 64
"""The server's default for ``limits.max_items_per_request``."""
DEFAULT_BATCH_SIZE = 16
DEFAULT_WINDOW = 8
# Room for the model's name and label, the options, and the frame of a stream's message.
_RESERVED_BYTES = 512
# The most that protobuf adds to one image: a tag and a length.
_FRAME_BYTES = 8


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked about each photo."""

    model: str
    version: int | None = None
    label: str | None = None
    top_k: int | None = None
    score_threshold: float | None = None

    def __post_init__(self) -> None:
        selector(self.model, self.version, self.label)
        if self.top_k is not None and not 1 <= self.top_k < 1 << 32:
            raise ValueError(f"top_k is 1 to the model's number of classes, not {self.top_k}")
        if self.score_threshold is not None and not 0 <= self.score_threshold <= 1:
            raise ValueError(f"score_threshold is 0.0 to 1.0, not {self.score_threshold}")

    def about(self, images: Sequence[image_pb2.Image]) -> classification_pb2.ClassifyRequest:
        """The request that asks it about these images."""
        return classification_pb2.ClassifyRequest(
            model=selector(self.model, self.version, self.label),
            images=images,
            top_k=self.top_k,
            score_threshold=self.score_threshold,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Photos that travel together, and between them those that could not be read and stay here."""

    question: Question
    items: tuple[image_pb2.Image | ItemFailed, ...]

    @property
    def images(self) -> list[image_pb2.Image]:
        """Those that travel."""
        return [item for item in self.items if isinstance(item, image_pb2.Image)]

    @property
    def request(self) -> classification_pb2.ClassifyRequest:
        """The request for those that travel."""
        return self.question.about(self.images)

    def read(self, response: classification_pb2.ClassifyResponse) -> list[Outcome]:
        """One outcome a photo, in order, those that stayed here among them."""
        answers = iter(read_classifications(response, expected=len(self.images)))
        return [item if isinstance(item, ItemFailed) else next(answers) for item in self.items]

    def error_in(self, answer: classification_pb2.ClassifyStreamResponse) -> SightlineError | None:
        """Why the batch as a whole has failed on a stream; None: it has not."""
        if answer.HasField("response"):
            return None
        return from_item_error(answer.error.code, answer.error.message)

    def stayed(self) -> list[Outcome]:
        """The outcomes of a batch of which nothing travels."""
        return [item for item in self.items if isinstance(item, ItemFailed)]

    def failed(self, error: SightlineError) -> list[Outcome]:
        """The outcomes when the request as a whole has failed."""
        return [item if isinstance(item, ItemFailed) else ItemFailed(error) for item in self.items]

    def singles(self) -> Iterator["Batch"]:
        """The same photos, each on its own."""
        return (Batch(self.question, (item,)) for item in self.items)


class BatchBuilder:
    """Gathers photos until a request is full, by number or by size."""

    def __init__(self, question: Question, *, max_items: int, max_message_bytes: int) -> None:
        if max_items < 1:
            raise ValueError(f"a batch holds 1 photo or more, not {max_items}")
        self._question = question
        self._max_items = max_items
        self._capacity_bytes = max_message_bytes - _RESERVED_BYTES
        self._items: list[image_pb2.Image | ItemFailed] = []
        self._bytes = 0

    def one(self, photo: Photo) -> Batch:
        """A batch of this photo alone; what ``image_from`` raises is raised."""
        return Batch(self._question, (image_from(photo, max_bytes=self._image_bytes),))

    def add(self, photo: Photo) -> Batch | None:
        """Take one more photo; returns the batch that this one filled, or did not fit into."""
        item = self._read(photo)
        size = item.ByteSize() + _FRAME_BYTES if isinstance(item, image_pb2.Image) else 0
        full = self.rest() if self._bytes + size > self._capacity_bytes else None
        self._items.append(item)
        self._bytes += size
        return full or (self.rest() if len(self._items) == self._max_items else None)

    def rest(self) -> Batch | None:
        """What has been gathered, if anything."""
        items, self._items, self._bytes = tuple(self._items), [], 0
        return Batch(self._question, items) if items else None

    @property
    def _image_bytes(self) -> int:
        return self._capacity_bytes - 4 * _FRAME_BYTES  # the shape of pixels

    def _read(self, photo: Photo) -> image_pb2.Image | ItemFailed:
        try:
            return image_from(photo, max_bytes=self._image_bytes)
        except MessageTooLarge as error:
            return ItemFailed(error)
        except (OSError, ValueError) as error:
            failure = InvalidInput(str(error))
            failure.__cause__ = error
            return ItemFailed(failure)


class InFlight:
    """The batches of a stream that have no outcome yet, in order; never more than ``window``."""

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f"the window is 1 batch or more, not {window}")
        self._window = window
        self._batches: deque[tuple[int, Batch]] = deque()
        self._next_id = 0

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def has_room(self) -> bool:
        """Whether another batch may be sent before the next answer."""
        return len(self._batches) < self._window

    def add(self, batch: Batch) -> list[classification_pb2.ClassifyStreamRequest]:
        """Put a batch last; returns the message to send, none where no photo of it travels."""
        self._batches.append((self._next_id, batch))
        self._next_id += 1
        return _messages(*self._batches[-1])

    def messages(self) -> list[classification_pb2.ClassifyStreamRequest]:
        """All that a new stream must be sent, because the last one broke before answering it."""
        return [message for entry in self._batches for message in _messages(*entry)]

    @property
    def awaits_answer(self) -> bool:
        """Whether the first batch was sent, and not only kept here for its place in the order."""
        return bool(self._batches[0][1].images)

    def pop(self, answer: classification_pb2.ClassifyStreamResponse | None) -> Batch:
        """Take the first batch out.

        Raises:
            ServerError: the answer is not for it.
        """
        number, batch = self._batches.popleft()
        if answer is not None and answer.id != number:
            raise ServerError(f"the server answered message {answer.id} when {number} was next")
        return batch


def _messages(number: int, batch: Batch) -> list[classification_pb2.ClassifyStreamRequest]:
    if not batch.images:
        return []
    return [classification_pb2.ClassifyStreamRequest(id=number, request=batch.request)]


def request_alone(batch: Batch, error: SightlineError) -> bool:
    """Whether a batch whose request failed in a stream should be asked as a call of its own.

    A call of its own is retried, and takes the photos apart when all of them were refused.
    """
    if isinstance(error, InvalidInput):
        return len(batch.items) > 1
    return error.code in RETRYABLE


def require_an_answer(outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes, unless all have failed: then the first error is raised."""
    if outcomes and all(isinstance(outcome, ItemFailed) for outcome in outcomes):
        only_answer(outcomes[:1])
    return outcomes


def only_answer(outcomes: list[Outcome]) -> Classification:
    """The answer of a batch of one; its error is raised."""
    (outcome,) = outcomes
    if isinstance(outcome, ItemFailed):
        raise outcome.error
    return outcome
