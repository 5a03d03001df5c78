"""What the verbs of a ``Client`` have in common: one, many or a stream of items in a question."""

from collections.abc import Generator, Iterable

from sightline.answers import Answer, Outcome
from sightline.calls import Caller, batches_of
from sightline.connection import Connection
from sightline.errors import SightlineError
from sightline.questions import Question, StreamQuestion
from sightline.requests import (
    MAX_ITEMS_PER_REQUEST,
    BatchBuilder,
    InFlight,
    concerns_all,
    only_answer,
    require_an_answer,
)


class Verbs:
    """The base of ``PhotoVerbs`` and ``SequenceVerbs``."""

    _caller: Caller
    _connection: Connection
    _default_timeout_s: float

    def _one(self, question: Question[Answer], given: object, timeout_s: float | None) -> Answer:
        batch = self._builder(question, 1).one(given)
        return only_answer(self._caller.ask(batch, self._timeout_s(timeout_s)))

    def _many(
        self, question: Question[Answer], items: Iterable[object], timeout_s: float | None
    ) -> list[Outcome[Answer]]:
        limit_s, outcomes = self._timeout_s(timeout_s), list[Outcome[Answer]]()
        end: SightlineError | None = None
        for batch in batches_of(items, self._builder(question, MAX_ITEMS_PER_REQUEST)):
            try:
                outcomes += batch.failed(end) if end else self._caller.ask(batch, limit_s)
            except SightlineError as error:  # the others' answers must not go with it
                outcomes += batch.failed(error)
                end = error if concerns_all(error) else None
        return require_an_answer(outcomes)

    def _stream(
        self,
        question: StreamQuestion[Answer],
        items: Iterable[object],
        batch_size: int,
        window: int,
        timeout_s: float | None,
    ) -> Generator[Outcome[Answer], None, None]:
        batches = batches_of(items, self._builder(question, batch_size))
        return self._caller.stream(batches, InFlight(question, window), self._timeout_s(timeout_s))

    def _builder(self, question: Question[Answer], max_items: int) -> BatchBuilder[Answer]:
        return BatchBuilder(
            question, max_items=max_items, max_message_bytes=self._connection.max_message_bytes
        )

    def _timeout_s(self, timeout_s: float | None) -> float:
        return self._default_timeout_s if timeout_s is None else timeout_s
