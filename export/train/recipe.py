"""What a recipe is: how a shipped model is trained, how it is scored, and what it must reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Train = Callable[[Path, Path, int | None], Path]
"""From the data's folder, a folder to write to, and perhaps a number of epochs, to the weights."""
Score = Callable[[Path, Path], Mapping[str, float]]
"""From an artifact's directory and the data's folder to scores on the held-out split."""


@dataclass(frozen=True)
class Floor:
    """What a score must reach."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    """For metrics of which less is better, such as bits per character."""

    def is_met(self, scores: Mapping[str, float]) -> bool:
        """Whether the scores reach it."""
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
    """One shipped model."""

    name: str
    held_out: str
    """The data on which it is scored, such as ``CIFAR-10, test split``."""
    run: Train
    score: Score
    floors: tuple[Floor, ...]
