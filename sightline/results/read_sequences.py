"""Messages about sequences -> ``Continuation`` and its steps."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sightline.results.continuation import Alternative, Continuation, FinishReason, Step
from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Timing
from sightline.v1 import sequence_pb2

_REASONS = {
    sequence_pb2.FINISH_REASON_STEPS: FinishReason.STEPS,
    sequence_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    sequence_pb2.FINISH_REASON_CONTEXT: FinishReason.CONTEXT,
}


def read_continuation(
    answer: sequence_pb2.Continuation, model: ModelIdentity, timing: Timing
) -> Continuation:
    """What comes after one history."""
    return Continuation(
        steps=read_steps(answer.steps),
        text=answer.text,
        finish_reason=read_reason(answer.finish_reason),
        model=model,
        timing=timing,
    )


def read_reason(reason: sequence_pb2.FinishReason) -> FinishReason:
    """Why it ended."""
    return _REASONS.get(reason, FinishReason.UNKNOWN)


def read_steps(steps: Iterable[sequence_pb2.Step]) -> tuple[Step, ...]:
    """The steps, in order."""
    return tuple(_read_step(step) for step in steps)


def _read_step(step: sequence_pb2.Step) -> Step:
    return Step(
        text=step.text,
        token=step.token,
        log_probability=step.log_probability,
        alternatives=tuple(
            Alternative(text=each.text, token=each.token, log_probability=each.log_probability)
            for each in step.alternatives
        ),
        values=_row(step.values),
        lower=_row(step.lower),
        upper=_row(step.upper),
    )


def _row(values: Iterable[float]) -> NDArray[np.float32]:
    return np.fromiter(values, np.float32)
