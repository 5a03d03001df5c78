"""The options of a request, checked against the model."""

import secrets
from dataclasses import dataclass

from service.artifact.sections import SequenceSection
from service.frontend.errors import InvalidInput
from service.frontend.sequence.intervals import DEFAULT_SHARE, Interval, widest_share
from service.ipc.sequence_slot import SequencePlan
from sightline.v1 import sequence_pb2 as pb

MAX_TEMPERATURE, MAX_PENALTY, MAX_BEAMS = 10.0, 10.0, 16
MAX_STOPS, MAX_STOP_CHARACTERS = 16, 256
MAX_ALTERNATIVES = 20


@dataclass(frozen=True, slots=True)
class ContinuationOptions:
    """Checked options of a request for steps."""

    plan: SequencePlan
    """For a history of any length."""
    interval: Interval | None
    """For values, if the model's residuals are known."""
    excludes_stop: bool = False
    """Leave what stopped a continuation out of the answer."""


def check_options(
    options: pb.PredictOptions, section: SequenceSection, max_steps: int
) -> ContinuationOptions:
    """Check every field.

    Raises:
        InvalidInput: a field is out of range, or is not valid for the model.
    """
    steps = options.max_steps if options.HasField("max_steps") else 1
    _check("max_steps", steps, 1, max_steps)
    if section.kind == "values":
        _refuse_tokens_fields(options)
        if section.frame and steps != 1:
            raise InvalidInput(
                f"max_steps is {steps}; this model scores frames and makes no further steps; ask"
                " for 1"
            )
        return ContinuationOptions(SequencePlan(0, steps), _check_interval(options, section))
    if options.HasField("interval"):
        raise InvalidInput("interval is for models of numbers; unset it")
    _check("top_alternatives", options.top_alternatives, 0, MAX_ALTERNATIVES)
    plan = _check_sampling(options, section, steps)
    return ContinuationOptions(plan, None, options.exclude_stop)


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """Checked options of a request for a transcription."""

    max_steps: int | None
    """The most tokens to return; None: all."""
    beams: int
    """Beams of the search; 1: take the likeliest alignment."""


def check_transcription(options: pb.PredictOptions, max_steps: int) -> TranscriptionOptions:
    """Check every field, for a model that transcribes.

    Raises:
        InvalidInput: a field is out of range, or has no meaning for a transcription.
    """
    steps = options.max_steps if options.HasField("max_steps") else None
    if steps is not None:
        _check("max_steps", steps, 1, max_steps)
    meaningless = [
        *(field.name for field, _ in options.ListFields()),
        *(f"sampling.{field.name}" for field, _ in options.sampling.ListFields()),
    ]
    for name in meaningless:
        if name not in ("max_steps", "sampling", "sampling.beams"):
            raise InvalidInput(
                f"{name} is for models that continue a history; this one transcribes it; unset it"
            )
    beams = options.sampling.beams if options.sampling.HasField("beams") else 1
    _check("sampling.beams", beams, 1, MAX_BEAMS)
    return TranscriptionOptions(steps, beams)


def _check_sampling(
    options: pb.PredictOptions, section: SequenceSection, steps: int
) -> SequencePlan:
    sampling, size = options.sampling, len(section.vocabulary)
    top_k = sampling.top_k if sampling.HasField("top_k") else 0
    top_p = sampling.top_p if sampling.HasField("top_p") else 1.0
    penalty = sampling.repetition_penalty if sampling.HasField("repetition_penalty") else 1.0
    beams = sampling.beams if sampling.HasField("beams") else 1
    _check("sampling.temperature", sampling.temperature, 0, MAX_TEMPERATURE)
    if sampling.HasField("top_k"):
        _check("sampling.top_k", top_k, 1, size)
    if not 0 < top_p <= 1:
        raise InvalidInput(f"sampling.top_p is {top_p:g}; over 0 and up to 1 is valid")
    _check("sampling.repetition_penalty", penalty, 1, MAX_PENALTY)
    _check("sampling.beams", beams, 1, MAX_BEAMS)
    if beams > 1 and (sampling.HasField("temperature") or penalty != 1):
        raise InvalidInput(
            "a beam search looks for the likeliest tokens; unset temperature and"
            " repetition_penalty, or unset beams"
        )
    return SequencePlan(
        history_length=0,
        steps=steps,
        alternatives=min(options.top_alternatives, size),
        temperature=sampling.temperature,
        top_k=top_k,
        top_p=top_p,
        penalty=penalty,
        seed=_seed(sampling),
        beams=beams,
        stop=_check_stop(options),
    )


def _seed(sampling: pb.Sampling) -> int:
    """The client's seed; or, for sampling without one, a random seed."""
    if sampling.HasField("seed"):
        return sampling.seed
    return secrets.randbits(64) if sampling.temperature else 0


def _check_stop(options: pb.PredictOptions) -> tuple[str, ...]:
    _check("the number of stop strings", len(options.stop), 0, MAX_STOPS)
    for each in options.stop:
        _check("the length of a stop string", len(each), 1, MAX_STOP_CHARACTERS)
    return tuple(options.stop)


def _refuse_tokens_fields(options: pb.PredictOptions) -> None:
    for name, is_set in (
        ("sampling", options.HasField("sampling")),
        ("stop", bool(options.stop)),
        ("top_alternatives", bool(options.top_alternatives)),
        ("exclude_stop", options.exclude_stop),
    ):
        if is_set:
            raise InvalidInput(f"{name} is for models of text; this one predicts numbers; unset it")


def _check_interval(options: pb.PredictOptions, section: SequenceSection) -> Interval | None:
    residuals, is_set = section.residuals, options.HasField("interval")
    share = options.interval if is_set else DEFAULT_SHARE
    if not 0 < share < 1:
        raise InvalidInput(f"interval is {share:g}; over 0 and under 1 is valid")
    if residuals is None:
        if is_set:
            raise InvalidInput("this model has no residuals, and so no intervals; unset interval")
        return None
    if not is_set and share > widest_share(residuals):
        return None
    return Interval(residuals, round(share, 6))  # float32 has 0.9 as 0.8999999762


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # true for NaN, too
        raise InvalidInput(f"{name} is {value:g}; {least:g} to {most:g} is valid")
