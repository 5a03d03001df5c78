"""The output of a sequence model's recipe: weights, artifact, report and model card."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime
from torch import nn

from export.artifact.parity import largest_difference
from export.pytorch.checkpoint import save_half
from export.pytorch.description import WeightsDescription
from export.train.loop import Progression
from export.train.report import Subject, card, machine, paragraph, training_figures
from export.train.schedule import Schedule
from export.train.score import export_weights


@dataclass(frozen=True)
class TrainedSequenceModel:
    """A trained network, and how it was trained."""

    network: nn.Module
    description: WeightsDescription
    schedule: Schedule | None = None
    """None for a model that was counted."""
    progression: Progression | None = None


@dataclass(frozen=True)
class SequenceReport:
    """The figures of one run, all measured."""

    parameters: int
    """The size of all weights; for a counted model, of its tables."""
    weights_bytes: int
    schedule: Schedule | None
    progression: Progression | None
    scores: dict[str, float]
    parity_max_absolute: float

    def as_json(self) -> str:
        """The report as a file's content."""
        return json.dumps({**asdict(self), "versions": machine()}, indent=2) + "\n"


def finish(
    trained: TrainedSequenceModel,
    subject: Subject,
    score: Callable[[Path], Mapping[str, float]],
    output_dir: Path,
) -> Path:
    """Write the weights, export and score them, write report and card.

    Args:
        trained: the network.
        subject: the model card's words.
        score: from an artifact's directory to its scores on held-out data.
        output_dir: where to write.

    Returns:
        The weights file.
    """
    name, network = subject.name, trained.network
    weights = output_dir / f"{name}.safetensors"
    save_half(network, weights, trained.description.to_metadata())
    artifact_dir = export_weights(name, weights, output_dir)
    scores = dict(score(artifact_dir))
    description = trained.description.model_copy(update={"metrics": scores})
    save_half(network, weights, description.to_metadata())
    report = SequenceReport(
        parameters=sum(tensor.numel() for tensor in network.state_dict().values()),
        weights_bytes=weights.stat().st_size,
        schedule=trained.schedule,
        progression=trained.progression,
        scores=scores,
        parity_max_absolute=largest_difference(artifact_dir),
    )
    (output_dir / "report.json").write_text(report.as_json())
    (output_dir / f"{name}.md").write_text(model_card(subject, report))
    return weights


def model_card(subject: Subject, report: SequenceReport) -> str:
    """The model card, in Markdown."""
    figures = "Nothing is left to chance (seed 0)."
    if report.schedule and report.progression:
        figures = training_figures(report.schedule, report.progression)
    sizes = (report.parameters, report.weights_bytes)
    return card(subject, sizes, score_section(report), figures)


def score_section(report: SequenceReport) -> list[str]:
    """The scores, and how they were measured."""
    text = f"""Measured on the exported artifact (half-precision weights) with ONNX Runtime
        {onnxruntime.__version__}, on data that took no part in training. Largest difference between
        PyTorch and ONNX Runtime at export: {report.parity_max_absolute:.1e}."""
    rows = [f"| {name} | **{score:.4f}** |" for name, score in report.scores.items()]
    return [paragraph(text), "\n".join(["| metric | score |", "| --- | --- |", *rows])]
