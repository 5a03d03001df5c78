# Generated from sightline/_async/methods.py by `make twins`: edit that file.

"""What the methods of a client share: one query about one item, about many, or on a stream."""

from collections.abc import Generator

from sightline._sync.calls import Caller
from sightline._sync.glue import Items, batches_of, one_batch
from sightline.connection import Connection
from sightline.errors import SightlineError
from sightline.requests.batches import (
    MAX_ITEMS_PER_REQUEST,
    BatchBuilder,
    InFlight,
    concerns_all,
    only_answer,
    require_an_answer,
)
from sightline.requests.query import Query, StreamQuery
from sightline.results.outcomes import Answer, Outcome


class Methods:
    """The base class of the methods for each task."""

    _caller: Caller
    _connection: Connection
    _default_timeout_s: float

    def _one(self, query: Query[Answer], given: object, timeout_s: float | None) -> Answer:
        batch = one_batch(given, self._builder(query, 1))
        return only_answer(self._caller.ask(batch, self._timeout_s(timeout_s)))

    def _many(
        self, query: Query[Answer], items: Items[object], timeout_s: float | None
    ) -> list[Outcome[Answer]]:
        limit_s, outcomes = self._timeout_s(timeout_s), list[Outcome[Answer]]()
        end: SightlineError | None = None
        for batch in batches_of(items, self._builder(query, MAX_ITEMS_PER_REQUEST)):
            try:
                outcomes += batch.failed(end) if end else self._caller.ask(batch, limit_s)
            except SightlineError as error:  # the answers of other batches are kept
                outcomes += batch.failed(error)
                end = error if concerns_all(error) else None
        return require_an_answer(outcomes)

    def _stream(
        self,
        query: StreamQuery[Answer],
        items: Items[object],
        batch_size: int,
        window: int,
        timeout_s: float | None,
    ) -> Generator[Outcome[Answer]]:
        batches = batches_of(items, self._builder(query, batch_size))
        return self._caller.stream(batches, InFlight(query, window), self._timeout_s(timeout_s))

    def _builder(self, query: Query[Answer], max_items: int) -> BatchBuilder[Answer]:
        return BatchBuilder(
            query, max_items=max_items, max_message_bytes=self._connection.max_message_bytes
        )

    def _timeout_s(self, timeout_s: float | None) -> float:
        return self._default_timeout_s if timeout_s is None else timeout_s
