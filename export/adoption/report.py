"""The report of an adoption: what was found out, and the answers to the examples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.adoption.artifact import Adopted
from export.errors import AdoptionError
from service.artifact.manifest import Task
from service.processing.ctc import greedy
from service.processing.detection_heads.registry import HEADS
from service.processing.nms import Detections, suppress

_BEST = 5
_MOST_BOXES = 20
_MIN_SIDE_PX = 320
_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45")


def print_report(adopted: Adopted) -> None:
    """Print the findings, and the answer to each example, on the error output."""
    console = Console(stderr=True)
    understood = Table("", "understood as", "because", title=f"{adopted.manifest.name}")
    for finding in adopted.findings:
        style = "yellow" if finding.why.startswith("a guess") else ""
        why = Text(finding.why, style=style)
        understood.add_row(finding.what, Text(finding.value), why)
    console.print(understood)
    answers = Table("example", "answer")
    for row in range(len(adopted.examples)):
        answers.add_row(str(row + 1), Text("\n".join(_in_words(adopted, row)) or "nothing"))
    console.print(answers)


def check_image_path(path: Path, task: Task) -> None:
    """Refuse a path at which no answer could be drawn.

    Raises:
        AdoptionError: answers of the task are not drawn, the file's ending names no format, or its
            folder is missing.
    """
    if task in (Task.SEQUENCE, Task.TENSORS):
        raise AdoptionError("answers of sequences and tensors are not drawn; leave --save out")
    if path.suffix.lower() not in Image.registered_extensions() or not path.parent.is_dir():
        raise AdoptionError(
            f"--save {path} is not an image file in an existing folder, such as answer.png"
        )


def draw_answer(adopted: Adopted, path: Path) -> None:
    """Draw the answer to the first example over the image that the graph takes.

    Args:
        adopted: an artifact.
        path: the image file; its ending says the format.
    """
    pixels = adopted.examples[0]
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    if adopted.manifest.task is Task.SEGMENTATION:
        image = _with_mask(image, adopted.answers[0][0])
    scale = max(1, -(-_MIN_SIDE_PX // min(image.size)))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    if adopted.manifest.task is Task.DETECTION:
        _draw_boxes(pen, _found(adopted, 0), scale, adopted.manifest.labels)
    elif adopted.manifest.task is not Task.SEGMENTATION:
        pen.text(
            (5, 5),
            "\n".join(_in_words(adopted, 0)),
            fill="white",
            stroke_width=2,
            stroke_fill="black",
        )
    image.save(path)


def _in_words(adopted: Adopted, row: int) -> list[str]:
    labels = adopted.manifest.labels
    first = adopted.answers[0][row]
    if adopted.manifest.task is Task.SEGMENTATION:
        classes, counts = np.unique(first, return_counts=True)
        shares = sorted(zip(counts / first.size, classes, strict=True), reverse=True)
        return [f"{labels[index]} {share:.1%} of the picture" for share, index in shares[:_BEST]]
    if adopted.manifest.task is Task.SEQUENCE:
        return _sequence_in_words(adopted, row)
    if adopted.manifest.task is Task.TENSORS:
        return _tensors_in_words(adopted, row)
    if adopted.manifest.task is Task.DETECTION:
        found = _found(adopted, row)
        return [
            f"{labels[label]} {score:.1%} at {', '.join(f'{edge:.0f}' for edge in box)}"
            for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True)
        ]
    best = np.argsort(-first, kind="stable")[:_BEST]
    return [f"{labels[index]} {first[index]:.1%}" for index in best]


def _sequence_in_words(adopted: Adopted, row: int) -> list[str]:
    """The values of the last step, the most probable next tokens, or a CTC network's text."""
    section, last = adopted.manifest.sequence, adopted.answers[0][row]
    assert section is not None
    if section.ctc is not None:
        tokens = greedy(last, section.ctc.blank).tokens
        return ["".join(section.vocabulary[token] for token in tokens)]
    last = last.reshape(-1, last.shape[-1])[-1]
    if section.kind == "tokens":
        best = np.argsort(-last, kind="stable")[:_BEST]
        return [f"next: {section.vocabulary[index]!r}" for index in best]
    return [", ".join(f"{value:.3g}" for value in last[:_BEST])]


def _tensors_in_words(adopted: Adopted, row: int) -> list[str]:
    """The first values of each output."""
    words: list[str] = []
    for spec, answer in zip(adopted.manifest.outputs, adopted.answers, strict=True):
        numbers = ", ".join(f"{value:.3g}" for value in answer[row].reshape(-1)[:_BEST])
        words.append(f"{spec.name}: {numbers}{' ...' if answer[row].size > _BEST else ''}")
    return words


def _found(adopted: Adopted, row: int) -> Detections:
    """The boxes of an example, in px of the graph's input, at the artifact's thresholds."""
    section = adopted.manifest.detection
    assert section is not None
    outputs = [answer[row] for answer in adopted.answers]
    candidates = HEADS[section.head](outputs, adopted.manifest)
    return suppress(
        candidates.boxes,
        candidates.scores,
        score_threshold=section.score_threshold,
        iou_threshold=section.iou_threshold,
        max_detections=_MOST_BOXES,
    )


def _draw_boxes(
    pen: ImageDraw.ImageDraw, found: Detections, scale: int, labels: Sequence[str]
) -> None:
    for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
        colour = _COLOURS[int(label) % len(_COLOURS)]
        x1, y1, x2, y2 = (float(edge) * scale for edge in box)
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        name = f"{labels[label]} {score:.0%}"
        pen.text((x1, y1), name, fill="white", stroke_width=2, stroke_fill=colour)


def _with_mask(image: Image.Image, mask: np.ndarray) -> Image.Image:
    palette = np.array([Image.new("RGB", (1, 1), name).getpixel((0, 0)) for name in _COLOURS])
    colours = palette[mask % len(palette)].astype(np.uint8)
    shown = Image.fromarray(colours).resize(image.size, Image.Resampling.NEAREST)
    return Image.blend(image, shown, 0.5)
