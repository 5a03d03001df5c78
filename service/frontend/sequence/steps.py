"""From the steps in a slot to the steps of a response."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.frontend.model_repository import ServedModel
from service.frontend.response_encoding import join
from service.frontend.sequence.options import ContinuationOptions
from service.ipc.sequence_slot import FinishReason, SequencePlan, SequenceSlot
from sightline.v1 import sequence_pb2 as pb

_FINISH_REASONS = {
    FinishReason.OPEN: pb.FINISH_REASON_UNSPECIFIED,
    FinishReason.STEPS: pb.FINISH_REASON_STEPS,
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.CONTEXT: pb.FINISH_REASON_CONTEXT,
}


def plan_of(options: ContinuationOptions, history_length: int, **fields: Any) -> SequencePlan:
    """The plan for a history of ``history_length`` elements."""
    return replace(options.plan, history_length=history_length, **fields)


def finish_reason(slot: SequenceSlot) -> pb.FinishReason:
    """Why the continuation ended."""
    return _FINISH_REASONS[slot.finish_reason]


def add_steps(
    message: Any,
    slot: SequenceSlot,
    start: int,
    stop: int,
    model: ServedModel,
    options: ContinuationOptions,
    last_text: str | None = None,
) -> str:
    """Append steps ``start:stop`` to a message; returns their text.

    Args:
        message: a `Continuation`, `PredictStreamResponse` or `FollowResponse`.
        slot: with the steps.
        start: number of the first step.
        stop: number of the last step, plus 1.
        model: that made the steps.
        options: of the request.
        last_text: of the last step, if it is not the text of its token.
    """
    words = slot.steps(start, stop)
    if not slot.layout.elements.is_tokens:
        _add_values(message.steps, words.view(np.float32), start, options)
        return ""
    section = model.manifest.sequence
    assert section is not None
    vocabulary = section.vocabulary
    tokens: list[int] = words[:, 0].tolist()
    log_probabilities: list[float] = words[:, 1].copy().view(np.float32).tolist()
    message.MergeFromString(join(model.token_prefixes, tokens, log_probabilities))
    if count := slot.layout.plan.alternatives:
        _add_alternatives(message.steps[-len(tokens) :], words[:, 2:], count, vocabulary)
    texts = [vocabulary[token] for token in tokens]
    if last_text is not None:
        texts[-1] = message.steps[-1].text = last_text
    return "".join(texts)


def _add_alternatives(
    steps: Sequence[pb.Step], words: NDArray[np.int32], count: int, vocabulary: Sequence[str]
) -> None:
    tokens: list[list[int]] = words[:, :count].tolist()
    log_probabilities: list[list[float]] = words[:, count:].copy().view(np.float32).tolist()
    for step, its_tokens, its in zip(steps, tokens, log_probabilities, strict=True):
        for token, log_probability in zip(its_tokens, its, strict=True):
            step.alternatives.add(
                text=vocabulary[token], token=token, log_probability=log_probability
            )


def _add_values(
    steps: Any, predictions: NDArray[np.float32], start: int, options: ContinuationOptions
) -> None:
    if options.interval is None:
        for values in predictions.tolist():
            steps.add(values=values)
        return
    lower, upper = options.interval.around(predictions, start)
    for values, low, high in zip(predictions.tolist(), lower.tolist(), upper.tolist(), strict=True):
        steps.add(values=values, lower=low, upper=high)
