"""What may be asked about sequences, and what becomes of each answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sightline.answers import ModelIdentity, Timing
from sightline.continuations import Continuation
from sightline.histories import HistoryLike, history_from
from sightline.questions import Question, Which, check_range
from sightline.rpcs import PREDICT
from sightline.sequence_replies import read_continuation
from sightline.v1 import sequence_pb2
from sightline.v1.sequence_pb2 import (
    FollowRequest,
    History,
    PredictRequest,
    PredictResult,
    PredictStreamRequest,
    Sampling,
)


class PredictOptions(Which, total=False):
    """How a sequence is continued.

    For models of numbers only ``max_steps`` and ``interval``; for models that transcribe (CTC) only
    ``max_steps`` and ``beams``.
    """

    max_steps: int | None
    """Steps to make at most; if not given 1, or all of a transcription."""
    temperature: float | None
    """Divides the logits: 0 (also if not given) is the likeliest step each time, up to 10."""
    top_k: int | None
    """Choose among the k likeliest only."""
    top_p: float | None
    """Choose among the likeliest that together reach this probability, over 0, to 1."""
    repetition_penalty: float | None
    """Divides the logits of tokens that occurred already, 1 (none) to 10."""
    seed: int | None
    """Makes a sampled answer repeatable."""
    beams: int | None
    """Beams of a beam search, 1 (none) to 16; not together with ``temperature``."""
    stop: Sequence[str]
    """End when the text made so far ends with one of these; 16 at most."""
    alternatives: int
    """How many likely tokens to report for each step, 0 to 20."""
    interval: float | None
    """Numbers: the share of outcomes that lower..upper should cover, between 0 and 1; None: 0.9."""


@dataclass(frozen=True, kw_only=True)
class PredictQuestion(Question[Continuation]):
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

    def about(self, items: Sequence[History]) -> PredictRequest:
        """The request that asks for the continuation of these histories."""
        return PredictRequest(model=self.selector(), histories=items, options=self.options())

    def about_one(self, history: HistoryLike, *, max_message_bytes: int) -> PredictStreamRequest:
        """The request for one continuation, step by step; raises as ``item`` does."""
        request = PredictStreamRequest(model=self.selector(), options=self.options())
        max_bytes = max_message_bytes - request.ByteSize()
        request.history.CopyFrom(history_from(history, max_bytes=max_bytes))
        return request

    def first_of(self, observed: History) -> FollowRequest:
        """The message that opens a stream of observations."""
        return FollowRequest(model=self.selector(), observed=observed, options=self.options())

    def options(self) -> sequence_pb2.PredictOptions:
        """How it is to be continued."""
        return sequence_pb2.PredictOptions(
            max_steps=self.max_steps,
            sampling=self._sampling(),
            stop=self.stop,
            top_alternatives=self.alternatives or None,
            interval=self.interval,
        )

    def answer(self, result: PredictResult, model: ModelIdentity, timing: Timing) -> Continuation:
        """What comes after one history."""
        return read_continuation(result.continuation, model, timing)

    def _sampling(self) -> Sampling | None:
        """None when nothing is chosen: models of numbers take none."""
        sampling = Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
            beams=self.beams,
        )
        return sampling if sampling.ListFields() else None
