"""The files beside a segmentation recipe's weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime

from export.artifact.parity import read_results
from export.train.loop import Progression
from export.train.report import Subject, card, machine, paragraph, score_table, training_figures
from export.train.schedule import Schedule
from export.train.segmentation.score import SegmentationScore


@dataclass(frozen=True)
class SegmentationReport:
    """The figures of one run, all measured."""

    parameters: int
    weights_bytes: int
    schedule: Schedule
    progression: Progression
    score: SegmentationScore
    miou_pytorch: float
    """The mean IoU of the float32 network in PyTorch, before rounding to half precision."""
    parity_agreement: float
    """The least share of mask pixels, over buckets and batch sizes, that PyTorch and ONNX Runtime
    agree on, in 0..1."""

    def as_json(self) -> str:
        """The report as a file's content."""
        return json.dumps({**asdict(self), "versions": machine()}, indent=2) + "\n"


def least_agreement(artifact_dir: Path) -> float:
    """The smallest agreement in an artifact's ``parity.json``."""
    return min(result["agreement"] for result in read_results(artifact_dir))


def write_report(output_dir: Path, subject: Subject, report: SegmentationReport) -> None:
    """Write ``report.json`` and ``NAME.md``."""
    (output_dir / "report.json").write_text(report.as_json())
    training = training_figures(report.schedule, report.progression)
    sizes = (report.parameters, report.weights_bytes)
    content = card(subject, sizes, score_section(report), training)
    (output_dir / f"{subject.name}.md").write_text(content)


def score_section(report: SegmentationReport) -> list[str]:
    """The scores, and how they were measured."""
    score = report.score
    exported = f"""Mean intersection over union of the classes on the {score.images} test frames at
        full size, measured on the exported artifact (half-precision weights) with ONNX Runtime
        {onnxruntime.__version__}: **{score.miou:.4f}**; share of the labelled pixels whose class is
        right: **{score.pixel_accuracy:.4f}**."""
    pytorch = f"""In PyTorch, before the weights were rounded to half precision, the mean
        intersection over union was {report.miou_pytorch:.4f}. At export PyTorch and ONNX Runtime
        agreed on {report.parity_agreement:.3%} of the pixels of all masks or more."""
    return [paragraph(exported), paragraph(pytorch), score_table("IoU", score.iou_by_label)]
