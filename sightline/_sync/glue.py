"""The small things that threads do otherwise than an event loop. By hand on both sides."""

from collections.abc import Iterable, Iterator
from time import sleep
from typing import Any, TypeAlias, TypeVar

from sightline.requests.batches import Batch, BatchBuilder
from sightline.results.outcomes import Answer, Outcome

__all__ = ["DroppedStreamHangsUp", "Items", "batches_of", "one_batch", "read", "sleep"]

Item = TypeVar("Item")
Items: TypeAlias = Iterable[Item]
"""What a caller may pass as many images or histories."""


class DroppedStreamHangsUp:
    """A stream that is dropped, such as by ``break``, tells the server to stop."""

    def __del__(self) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        raise NotImplementedError


def batches_of(items: Items[object], builder: BatchBuilder[Answer]) -> Iterator[Batch[Answer]]:
    """Cut items into batches, lazily."""
    for given in items:
        if batch := builder.add(given):
            yield batch
    if batch := builder.rest():
        yield batch


def one_batch(given: object, builder: BatchBuilder[Answer]) -> Batch[Answer]:
    """A batch of this item alone."""
    return builder.one(given)


def read(batch: Batch[Answer], response: Any) -> list[Outcome[Answer]]:
    """The outcomes in a response."""
    return batch.read(response)
