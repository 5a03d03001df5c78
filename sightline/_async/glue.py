"""The small things that an event loop does otherwise than threads. By hand on both sides."""

import asyncio
import os
from asyncio import sleep
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, TypeAlias, TypeVar, cast

from sightline.requests.batches import Batch, BatchBuilder
from sightline.results.outcomes import Answer, Outcome

__all__ = ["DroppedStreamHangsUp", "Items", "batches_of", "one_batch", "read", "sleep"]

Item = TypeVar("Item")
Items: TypeAlias = Iterable[Item] | AsyncIterable[Item]
"""What a caller may pass as many images or histories."""
Taken = TypeVar("Taken")


class DroppedStreamHangsUp:
    """Nothing to do: ``grpc.aio`` cancels a call that is dropped."""


async def batches_of(
    items: Items[object], builder: BatchBuilder[Answer]
) -> AsyncIterator[Batch[Answer]]:
    """Cut items into batches, lazily; files are read off the event loop."""
    async for given in _each(items):
        if batch := await _off_the_loop(builder.add, given, builder):
            yield batch
    if batch := builder.rest():
        yield batch


async def one_batch(given: object, builder: BatchBuilder[Answer]) -> Batch[Answer]:
    """A batch of this item alone; a file is read off the event loop."""
    return await _off_the_loop(builder.one, given, builder)


async def read(batch: Batch[Answer], response: Any) -> list[Outcome[Answer]]:
    """The outcomes in a response; masks are decoded off the event loop."""
    if batch.query.is_slow_to_read:
        return await asyncio.to_thread(batch.read, response)
    return batch.read(response)


async def _each(items: Items[object]) -> AsyncIterator[object]:
    if isinstance(items, AsyncIterable):
        async for given in items:
            yield given
    else:
        for given in items:
            yield given


async def _off_the_loop(
    take: Callable[[object], Taken], given: object, builder: BatchBuilder[Any]
) -> Taken:
    if builder.reads_files and isinstance(given, str | os.PathLike):
        return await asyncio.to_thread(take, cast(object, given))
    return take(given)
