"""The answer of a classification model."""

from dataclasses import dataclass

from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Timing


@dataclass(frozen=True, slots=True)
class Label:
    """One class, and how sure the model is."""

    name: str
    index: int
    """Its place in the model's output."""
    score: float
    """In 0..1; over all classes the scores sum to 1."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What one image shows."""

    labels: tuple[Label, ...]
    """Best first."""
    model: ModelIdentity
    timing: Timing

    @property
    def best(self) -> Label:
        """The label with the highest score.

        Raises:
            LookupError: no label reached the ``score_threshold`` of the request.
        """
        if not self.labels:
            raise LookupError("no label reached the score_threshold: look at `labels` first")
        return self.labels[0]
