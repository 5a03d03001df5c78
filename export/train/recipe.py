"""A recipe: how a shipped model is trained and scored, and the scores that it must reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Train = Callable[[Path, Path, int | None], Path]
"""From the data's folder, an output folder and a number of epochs or None, to the weights file."""
Score = Callable[[Path, Path], Mapping[str, float]]
"""From an artifact's directory and the data's folder to scores on the held-out split."""


@dataclass(frozen=True)
class Floor:
    """A bound that a score must reach."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    """For metrics where less is better, such as bits per character."""

    def is_met(self, scores: Mapping[str, float]) -> bool:
        """Whether the scores reach the floor."""
        score = scores[self.metric]
        return (self.at_least is None or score >= self.at_least) and (
            self.at_most is None or score <= self.at_most
        )

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"{self.metric} ≥ {self.at_least:g}"
        return f"{self.metric} ≤ {self.at_most:g}"


@dataclass(frozen=True)
class Recipe:
    """The recipe of one shipped model."""

    name: str
    held_out: str
    """The data on which it is scored, such as ``CIFAR-10, test split``."""
    run: Train
    score: Score
    floors: tuple[Floor, ...]
