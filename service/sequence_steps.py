"""From steps in a slot to those of an answer."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.repository import ServedModel
from service.sequence_options import Options
from service.sequence_slots import End, Plan, SequenceSlot
from sightline.v1 import sequence_pb2 as pb

_FINISH_REASONS = {
    End.OPEN: pb.FINISH_REASON_UNSPECIFIED,
    End.STEPS: pb.FINISH_REASON_STEPS,
    End.STOP: pb.FINISH_REASON_STOP,
    End.CONTEXT: pb.FINISH_REASON_CONTEXT,
}


def plan_of(options: Options, history: int, **fields: Any) -> Plan:
    """The plan for a history of so many elements."""
    return replace(options.plan, history=history, **fields)


def finish_reason(slot: SequenceSlot) -> pb.FinishReason:
    """Why it ended."""
    return _FINISH_REASONS[slot.end]


def add_steps(
    steps: Any, slot: SequenceSlot, start: int, stop: int, model: ServedModel, options: Options
) -> None:
    """Append steps ``start:stop`` to a field ``steps`` of a message."""
    words = slot.steps(start, stop)
    if not slot.layout.form.is_tokens:
        _add_values(steps, words.view(np.float32), start, options)
        return
    section = model.manifest.sequence
    assert section is not None
    vocabulary = section.vocabulary
    tokens: list[int] = words[:, 0].tolist()
    log_probabilities: list[float] = words[:, 1].copy().view(np.float32).tolist()
    add = steps.add
    added = [
        add(text=vocabulary[token], token=token, log_probability=log_probability)
        for token, log_probability in zip(tokens, log_probabilities, strict=True)
    ]
    count = slot.layout.plan.alternatives
    if not count:
        return
    others = words[:, 2 : 2 + count].tolist()
    theirs = words[:, 2 + count :].copy().view(np.float32).tolist()
    for step, its_tokens, its in zip(added, others, theirs, strict=True):
        for token, log_probability in zip(its_tokens, its, strict=True):
            step.alternatives.add(
                text=vocabulary[token], token=token, log_probability=log_probability
            )


def _add_values(steps: Any, predictions: NDArray[np.float32], start: int, options: Options) -> None:
    if options.interval is None:
        for values in predictions.tolist():
            steps.add(values=values)
        return
    lower, upper = options.interval.around(predictions, start)
    for values, low, high in zip(predictions.tolist(), lower.tolist(), upper.tolist(), strict=True):
        steps.add(values=values, lower=low, upper=high)
