"""``sightline adopt``, as a user runs it, on graphs that tests make."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from export.adopt_command import register

LABELS = ("red", "green", "blue")


def square(colour: tuple[int, int, int], side: int = 8) -> NDArray[np.uint8]:
    """A picture of one colour."""
    return np.full((side, side, 3), colour, np.uint8)


RED, GREEN, BLUE = square((230, 20, 40)), square((30, 210, 20)), square((10, 40, 250))


def adopt(
    folder: Path,
    graph: onnx.ModelProto | bytes,
    *flags: str,
    task: str = "classification",
    name: str = "adopted",
    labels: tuple[str, ...] | None = LABELS,
    examples: tuple[NDArray[np.uint8], ...] = (RED, GREEN),
) -> Result:
    """Write a graph, labels and examples into ``folder``, and adopt it into ``folder/models``."""
    path = folder / f"{name}.onnx"
    path.write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    words = [str(path), "--task", task, "--name", name, "--output", str(folder / "models"), *flags]
    for number, pixels in enumerate(examples):
        example = folder / f"{name}-{number}.png"
        Image.fromarray(pixels).save(example)
        words += ["--example", str(example)]
    if labels is not None:
        (folder / f"{name}.txt").write_text("\n".join(labels))
        words += ["--labels", str(folder / f"{name}.txt")]
    return invoke(*words)


def invoke(*words: str, environment: Mapping[str, str] | None = None) -> Result:
    """Run the command."""
    app = typer.Typer()
    register(app)
    return CliRunner(env=environment).invoke(app, list(words))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()
