"""The files beside a recipe's weights: a report for programs and a model card for people."""

import json
import os
import platform
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import onnxruntime
import torch

from export.train.loop import Progression
from export.train.schedule import Schedule
from export.train.score import ClassificationScore


@dataclass(frozen=True)
class Subject:
    """The recipe's texts for the model card."""

    name: str
    title: str
    command: str
    network: str
    training: str
    data: str
    limits: str
    licence: str


@dataclass(frozen=True)
class Report:
    """The figures of one run, all measured."""

    parameters: int
    weights_bytes: int
    schedule: Schedule
    progression: Progression
    score: ClassificationScore
    top1_pytorch: float
    """Top-1 of the float32 network in PyTorch, before rounding to half precision."""
    parity_max_absolute: float

    def as_json(self) -> str:
        """The report as a file's content."""
        content = {**asdict(self), "versions": machine()}
        return json.dumps(content, indent=2) + "\n"


def machine() -> dict[str, str]:
    """The versions and the machine of the measurements."""
    return {
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def write_report(output_dir: Path, subject: Subject, report: Report) -> None:
    """Write ``report.json`` and ``NAME.md``."""
    (output_dir / "report.json").write_text(report.as_json())
    (output_dir / f"{subject.name}.md").write_text(model_card(subject, report))


def model_card(subject: Subject, report: Report) -> str:
    """The model card of a classifier, in Markdown."""
    training = training_figures(report.schedule, report.progression)
    return card(subject, (report.parameters, report.weights_bytes), score_section(report), training)


def card(subject: Subject, sizes: tuple[int, int], score: Sequence[str], training: str) -> str:
    """A model card, in Markdown.

    Args:
        subject: the recipe's texts.
        sizes: the number of parameters, and the bytes of the weights.
        score: paragraphs on the scores, such as those of `score_section`.
        training: the text of `training_figures`.
    """
    network = f"""{subject.network} {sizes[0]:,} parameters, {sizes[1]:,} bytes in half
        precision."""
    parts = [
        f"# {subject.title}",
        paragraph(network),
        "## Score",
        *score,
        "## Training",
        paragraph(f"{subject.training} {training}"),
        f"    {subject.command}",
        "## Data",
        paragraph(subject.data),
        "## Limits",
        paragraph(subject.limits),
        "## Licence",
        paragraph(subject.licence),
    ]
    return "\n\n".join(parts) + "\n"


def score_section(report: Report) -> list[str]:
    """The scores, and how they were measured."""
    score = report.score
    exported = f"""Top-1 on the {score.images:,} test photographs, measured on the exported artifact
        (half-precision weights) with ONNX Runtime {onnxruntime.__version__}:
        **{score.top1:.4f}**."""
    pytorch = f"""In PyTorch, before the weights were rounded to half precision:
        {report.top1_pytorch:.4f}. Largest difference of a score between PyTorch and ONNX Runtime at
        export: {report.parity_max_absolute:.1e}."""
    return [paragraph(exported), paragraph(pytorch), score_table("top-1", score.top1_by_label)]


def training_figures(schedule: Schedule, progression: Progression) -> str:
    """The schedule, the duration and the machine of the training."""
    seconds = sorted(progression.epoch_s)
    versions = machine()
    processor = f"{versions['threads']} of {versions['cores']} cores ({versions['machine']})"
    device = versions["cuda"] or processor
    optimizer = {
        "sgd": f"SGD with Nesterov momentum {schedule.momentum}",
        "adamw": "AdamW",
        "muon": f"Muon (peak {schedule.muon_learning_rate}) for the blocks and AdamW for the rest",
    }[schedule.optimizer]
    return f"""{progression.epochs_done} epochs of {optimizer}, batches
        of {schedule.batch_size}, one cycle with a peak learning rate of
        {schedule.peak_learning_rate}, weight decay {schedule.weight_decay} (not of
        biases and normalisation), seed {schedule.seed}. The mean loss of the last epoch was
        {progression.mean_loss[-1]:.4f}. An epoch took {median(seconds):.0f} s (median;
        {seconds[0]:.0f} to {seconds[-1]:.0f} s), all of them {sum(seconds) / 60:.0f} minutes, on
        {device} with torch {versions["torch"]}."""


def paragraph(text: str) -> str:
    """One paragraph, wrapped."""
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False)


def score_table(name: str, by_label: Mapping[str, float]) -> str:
    """A table of labels and scores."""
    rows = [f"| {label} | {score:.3f} |" for label, score in by_label.items()]
    return "\n".join([f"| label | {name} |", "| --- | --- |", *rows])
