"""Scores of the shipped models, measured on their artifacts with ONNX Runtime, and their table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from export.errors import DataError
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import described_network, read_description, shipped_models
from export.train.recipe import Recipe
from service.artifact.manifest import Manifest, read_manifest


@dataclass(frozen=True)
class Evaluation:
    """One artifact, scored on held-out data."""

    recipe: Recipe
    manifest: Manifest
    artifact_sha256: str
    scores: Mapping[str, float]

    @property
    def reaches_floors(self) -> bool:
        """Whether every score reaches its floor."""
        return all(floor.is_met(self.scores) for floor in self.recipe.floors)


def newest_artifact(models_dir: Path, name: str) -> Path:
    """``models_dir/NAME/VERSION`` of the newest version.

    Raises:
        DataError: there is no version.
    """
    folder = models_dir / name
    versions = [int(each.name) for each in folder.glob("*") if each.name.isdecimal()]
    if not versions:
        raise DataError(
            f"there is no artifact of {name} in {models_dir}; make it with"
            f" `sightline export {name} --output {models_dir}`"
        )
    return folder / str(max(versions))


def evaluate(recipe: Recipe, artifact_dir: Path, data_dir: Path) -> Evaluation:
    """Score one artifact.

    Raises:
        ExportError: the data or the artifact cannot be read.
    """
    manifest, sha256 = read_manifest(artifact_dir.resolve())
    return Evaluation(recipe, manifest, sha256, recipe.score(artifact_dir, data_dir))


def scores_in_words(scores: Mapping[str, float]) -> str:
    """Such as ``top1 0.8719``."""
    return ", ".join(f"{name} {score:.4g}" for name, score in scores.items())


def table(evaluations: Sequence[Evaluation]) -> Table:
    """The table for a terminal."""
    made = Table("model", "held-out data", "scores", "floor", "")
    for index in (0, 2, 3, 4):
        made.columns[index].no_wrap = True
    made.columns[1].overflow = "fold"
    for each in evaluations:
        made.add_row(
            each.recipe.name,
            each.recipe.held_out,
            "\n".join(f"{name} {score:.4g}" for name, score in each.scores.items()),
            "\n".join(map(str, each.recipe.floors)),
            "reached" if each.reaches_floors else "MISSED",
        )
    return made


def trained_table(weights: Sequence[Path]) -> Table:
    """The scores of trained recipes, from the metadata of their weights."""
    made = Table("model", "scores", "weights")
    for path in weights:
        description = read_description(read_checkpoint(path))
        assert description is not None  # a recipe wrote them
        made.add_row(path.stem, scores_in_words(description.metrics), str(path))
    return made


def page(evaluations: Sequence[Evaluation], missing: Sequence[str] = ()) -> str:
    """``docs/models.md``: the shipped models, their measured scores, and what is still missing."""
    lines = [
        "# The models that ship",
        "",
        "Every score is of the exported artifact, through ONNX Runtime, on data that took no part",
        "in training. This page is written by `sightline evaluate --all --data DIR --write"
        " docs/models.md`;",
        "each model's card beside its weights in `export/weights/` tells data, recipe and limits.",
        "",
        "| model | network | task | held-out data | score | floor | parameters | weights |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(row(each) for each in sorted(evaluations, key=lambda each: each.manifest.task)),
    ]
    if missing:
        lines += ["", f"Recipes whose weights do not ship yet: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def row(evaluation: Evaluation) -> str:
    """One line of the page."""
    name, manifest = evaluation.recipe.name, evaluation.manifest
    weights = shipped_models()[name]
    checkpoint = read_checkpoint(weights)
    description = read_description(checkpoint)
    assert description is not None  # a recipe wrote them
    options = description.options
    parameters = described_network(checkpoint, description).module.parameters()
    narrowed = ", ".join(f"{key} {value}" for key, value in options.items() if key == "width")
    cells = (
        f"[{name}](../export/weights/{name}.md)",
        manifest.architecture + (f" ({narrowed})" if narrowed else ""),
        manifest.task,
        evaluation.recipe.held_out,
        scores_in_words(evaluation.scores),
        ", ".join(map(str, evaluation.recipe.floors))
        + ("" if evaluation.reaches_floors else " **missed**"),
        f"{sum(each.numel() for each in parameters):,}",
        f"{weights.stat().st_size / 1e3:,.0f} kB",
    )
    return f"| {' | '.join(cells)} |"
