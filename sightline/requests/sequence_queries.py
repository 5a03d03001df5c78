"""The query about sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sightline.requests.histories import HistoryLike, history_from
from sightline.requests.query import Query, check_range
from sightline.results.continuation import Continuation
from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Timing
from sightline.results.read_sequences import read_continuation
from sightline.rpcs import PREDICT
from sightline.v1.sequence_pb2 import (
    FollowRequest,
    History,
    PredictOptions,
    PredictRequest,
    PredictResult,
    PredictStreamRequest,
    Sampling,
)


@dataclass(frozen=True, kw_only=True)
class PredictQuery(Query[Continuation]):
    """What comes next?"""

    rpc: ClassVar = PREDICT
    item_name: ClassVar = "histories"

    max_steps: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    beams: int | None = None
    stop: Sequence[str] = ()
    exclude_stop: bool = False
    alternatives: int = 0
    interval: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("max_steps", self.max_steps, 1, (1 << 32) - 1)
        check_range("temperature", self.temperature, 0.0, 10.0)
        check_range("top_k", self.top_k, 1, (1 << 32) - 1)
        check_range("repetition_penalty", self.repetition_penalty, 1.0, 10.0)
        check_range("seed", self.seed, 0, (1 << 64) - 1)
        check_range("beams", self.beams, 1, 16)
        check_range("alternatives", self.alternatives, 0, 20)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is over 0, to 1, not {self.top_p}")
        if self.interval is not None and not 0 < self.interval < 1:
            raise ValueError(f"interval is over 0 and under 1, not {self.interval}")
        if isinstance(self.stop, str):
            raise TypeError(f"stop is a sequence of strings: pass [{self.stop!r}]")

    def item(self, given: Any, *, max_bytes: int) -> History:
        """The message for one history."""
        return history_from(given, max_bytes=max_bytes)

    def request(self, items: Sequence[History]) -> PredictRequest:
        """The request for the continuations of these histories."""
        return PredictRequest(model=self.selector(), histories=items, options=self._options())

    def stream_request(
        self, history: HistoryLike, *, max_message_bytes: int
    ) -> PredictStreamRequest:
        """The request for one continuation, step by step; it raises what ``item`` raises."""
        request = PredictStreamRequest(model=self.selector(), options=self._options())
        max_bytes = max_message_bytes - request.ByteSize()
        request.history.CopyFrom(history_from(history, max_bytes=max_bytes))
        return request

    def follow_request(self, observed: History) -> FollowRequest:
        """The first message of a stream of observations."""
        return FollowRequest(model=self.selector(), observed=observed, options=self._options())

    def _options(self) -> PredictOptions:
        """The options of the continuation."""
        return PredictOptions(
            max_steps=self.max_steps,
            sampling=self._sampling(),
            stop=self.stop,
            exclude_stop=self.exclude_stop,
            top_alternatives=self.alternatives or None,
            interval=self.interval,
        )

    def answer(self, result: PredictResult, model: ModelIdentity, timing: Timing) -> Continuation:
        """What comes after one history."""
        return read_continuation(result.continuation, model, timing)

    def _sampling(self) -> Sampling | None:
        """None without any such option: models of numbers refuse them."""
        sampling = Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
            beams=self.beams,
        )
        return sampling if sampling.ListFields() else None
