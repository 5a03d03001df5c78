"""The answer of a sequence model."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Timing


class FinishReason(StrEnum):
    """Why a continuation ended."""

    UNKNOWN = "unknown"
    """Newer than this client."""
    STEPS = "steps"
    """``max_steps`` steps were made."""
    STOP = "stop"
    """A stop string or the vocabulary's end token was met, or the history is transcribed.

    The stop string is the end of the answer, except with ``exclude_stop``.
    """
    CONTEXT = "context"
    """The model's context is full."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that the model could have chosen."""

    text: str
    token: int
    log_probability: float
    """Natural logarithm, 0 or less."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step: a token of a text, or a value of each series."""

    text: str
    """The token's characters; empty while a character is incomplete, and for numbers."""
    token: int
    """Its place in the vocabulary; 0 for numbers."""
    log_probability: float
    """Natural logarithm of the token's probability; 0 for numbers."""
    alternatives: tuple[Alternative, ...]
    """The likeliest tokens, best first; as many as ``alternatives`` says."""
    values: NDArray[np.float32]
    """Numbers: ``[series]``, in the units of the history. For tokens ``[0]``, like the next two."""
    lower: NDArray[np.float32]
    """The lower ends of the interval."""
    upper: NDArray[np.float32]
    """The upper ends of the interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Steps in order."""

    steps: tuple[Step, ...]
    """First to last."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens, for a model of text or tokens."""
        return tuple(step.token for step in self.steps)

    @property
    def values(self) -> NDArray[np.float32]:
        """``[T, series]``: the values, for a model of numbers, in the units of the history."""
        return _table([step.values for step in self.steps])

    @property
    def lower(self) -> NDArray[np.float32]:
        """``[T, series]``: the lower ends of the interval."""
        return _table([step.lower for step in self.steps])

    @property
    def upper(self) -> NDArray[np.float32]:
        """``[T, series]``: the upper ends of the interval."""
        return _table([step.upper for step in self.steps])


@dataclass(frozen=True, slots=True, eq=False)
class Continuation(Steps):
    """What comes after one history."""

    text: str
    """The steps as text; empty for numbers."""
    finish_reason: FinishReason
    model: ModelIdentity
    timing: Timing


@dataclass(frozen=True, slots=True, eq=False)
class Prediction(Steps):
    """What is expected after an observation: ``max_steps`` steps."""

    observed_steps: int
    """How many steps the stream has observed so far, 1 and up."""
    model: ModelIdentity
    padded_samples: int = 0
    """Models of frames: how many zeros filled the last frame; above 0 only from ``finish``."""

    @property
    def text(self) -> str:
        """The steps as text; empty for numbers."""
        return "".join(step.text for step in self.steps)


def _table(rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)
