"""What an ``AsyncClient`` asks about sequences: the twin of ``sequence_verbs``."""

from collections.abc import AsyncIterable, Iterable
from typing import Unpack

from sightline.answers import Outcome
from sightline.async_sequence_streams import AsyncFollow, AsyncStepStream
from sightline.async_verbs import AsyncVerbs
from sightline.continuations import Continuation
from sightline.histories import HistoryLike
from sightline.observations import DEFAULT_REMEMBERED, Observations
from sightline.sequence_questions import PredictOptions, PredictQuestion


class AsyncSequenceVerbs(AsyncVerbs):
    """predict: for one history, many, or step by step; follow: observation by observation."""

    async def predict(
        self,
        history: HistoryLike,
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[PredictOptions],
    ) -> Continuation:
        """Ask what comes after one history, as ``Client.predict``."""
        return await self._one(PredictQuestion(model=model, **options), history, timeout_s)

    async def predict_many(
        self,
        histories: Iterable[HistoryLike] | AsyncIterable[HistoryLike],
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[PredictOptions],
    ) -> list[Outcome[Continuation]]:
        """Ask what comes after each of many histories, as ``Client.predict_many``."""
        return await self._many(PredictQuestion(model=model, **options), histories, timeout_s)

    def predict_stream(
        self,
        history: HistoryLike,
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[PredictOptions],
    ) -> AsyncStepStream:
        """Ask what comes after one history, step by step, as ``Client.predict_stream``."""
        request = PredictQuestion(model=model, **options).about_one(
            history, max_message_bytes=self._connection.max_message_bytes
        )
        return AsyncStepStream(lambda: self._caller, request, self._timeout_s(timeout_s))

    def follow(
        self,
        *,
        model: str,
        resume: bool = False,
        remember: int = DEFAULT_REMEMBERED,
        timeout_s: float | None = None,
        **options: Unpack[PredictOptions],
    ) -> AsyncFollow:
        """A stream of observations, as ``Client.follow``, for ``async with``."""
        observations = Observations(
            PredictQuestion(model=model, **options),
            resume=resume,
            remember=remember,
            max_message_bytes=self._connection.max_message_bytes,
        )
        return AsyncFollow(lambda: self._caller, observations, self._timeout_s(timeout_s))
