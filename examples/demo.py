"""The main job, end to end: serve models, ask them about photographs, show the answers.

``python -m examples.demo --models models --output out``: what ``make demo`` runs.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import skimage.data
from PIL import Image
from rich.console import Console
from rich.table import Table

import sightline

IMAGENET = "efficientnet-lite0"
CIFAR10 = "cifar10-resnet"
# Photograph of scikit-image -> the models that know such things: a cat is one of CIFAR-10's ten
# classes, a cup and a rocket are not.
QUESTIONS = {
    "coffee": (IMAGENET,),
    "chelsea": (IMAGENET, CIFAR10),
    "rocket": (IMAGENET,),
}
TOP_K = 3
START_TIMEOUT_S = 120


@contextmanager
def served(models: Path, log: Path) -> Iterator[str]:
    """Run the server on a port the system chooses; gives its address."""
    command = [sys.executable, "-m", "service", "--models", str(models)]
    command += ["--grpc-port", "0", "--http-port", "0"]
    with log.open("w") as lines, subprocess.Popen(command, stderr=lines) as process:
        try:
            yield f"127.0.0.1:{_find_port(log, process)}"
        finally:
            process.terminate()


def _find_port(log: Path, process: "subprocess.Popen[bytes]") -> int:
    ends = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < ends:
        if found := re.search(r"gRPC on \S+:(\d+),", log.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(f"the server did not start; {log} says:\n{log.read_text()}")


def as_jpeg(name: str) -> bytes:
    """A photograph of scikit-image, as the file an application would send."""
    buffer = BytesIO()
    Image.fromarray(getattr(skimage.data, name)()).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def main() -> None:
    """Ask, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--output", type=Path, default=Path("out"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    answers: dict[tuple[str, str], sightline.Classification] = {}
    with (
        served(arguments.models, arguments.output / "server.log") as target,
        sightline.Client(target) as client,
    ):
        client.wait_until_ready(timeout_s=START_TIMEOUT_S)
        for photo, models in QUESTIONS.items():
            for model in models:
                answers[photo, model] = client.classify(as_jpeg(photo), model=model, top_k=TOP_K)
    Console().print(as_table(answers))
    picture = arguments.output / "demo.png"
    draw(answers, picture)
    print(f"the picture: {picture}")


def as_table(answers: dict[tuple[str, str], sightline.Classification]) -> Table:
    """One row a photograph and model."""
    table = Table("photograph", "model", "best label", "score", "then", "time")
    for (photo, model), answer in answers.items():
        second = answer.labels[1]
        then = f"{_short(second)} {second.score:.2f}"
        best, milliseconds = answer.best, 1000 * answer.timing.total_s
        table.add_row(
            photo, model, _short(best), f"{best.score:.2f}", then, f"{milliseconds:.1f} ms"
        )
    return table


def _short(label: sightline.Label) -> str:
    """ImageNet's labels are lists of synonyms; the first will do here."""
    return label.name.split(",")[0]


def draw(answers: dict[tuple[str, str], sightline.Classification], path: Path) -> None:
    """The photographs, and under each what every model says of it."""
    mpl.use("Agg")
    figure, axes = plt.subplots(
        3, len(QUESTIONS), figsize=(11, 5.1), height_ratios=(2.6, 1, 1), layout="constrained"
    )
    for column, (photo, models) in enumerate(QUESTIONS.items()):
        axes[0, column].imshow(getattr(skimage.data, photo)())
        axes[0, column].set_axis_off()
        for row in (1, 2):
            axis = axes[row, column]
            if row > len(models):
                axis.set_axis_off()
                continue
            _draw_labels(axis, answers[photo, models[row - 1]], models[row - 1])
    figure.savefig(path, dpi=110)


def _draw_labels(axis: plt.Axes, answer: sightline.Classification, model: str) -> None:
    labels = answer.labels[::-1]
    bars = axis.barh(range(len(labels)), [label.score for label in labels], color="#4c78a8")
    for bar, label in zip(bars, labels, strict=True):
        text = f"{_short(label)}  {label.score:.2f}"
        axis.text(0.02, bar.get_y() + bar.get_height() / 2, text, va="center", fontsize=9)
        bar.set_alpha(0.55)
    axis.set_xlim(0, 1)
    axis.set_yticks([])
    axis.set_xticks([])
    axis.set_title(f"{model}/{answer.model.version}", fontsize=9, loc="left")
    axis.spines[["top", "right", "bottom"]].set_visible(False)


if __name__ == "__main__":
    main()
