"""The main job, end to end: serve models, ask each kind of question, show the answers.

``python -m examples.demo --models models --output out``: what ``make demo`` runs.
The README's picture is ``out/demo.png``, copied to ``docs/images/``.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import sightline
from examples import demo_inputs
from examples.demo_picture import Classified, Shown, draw, short

IMAGENET = "efficientnet-lite0"
CIFAR10 = "cifar10-resnet"
STREETS = "camvid-fcn8s"
NUCLEI = "nuclei-yolo"
SHAKESPEARE = "shakespeare-transformer"
MODELS = (IMAGENET, CIFAR10, STREETS, NUCLEI, SHAKESPEARE)
CAT = "chelsea"  # a cat is one of CIFAR-10's ten classes; a cup and a rocket are not
CIFAR10_PX = 32
PHOTOGRAPHS = ("coffee", CAT, "rocket")
TOP_K = 3
MOST_CELLS = 200
LETTERS = 180
SAMPLING = {"temperature": 0.6, "seed": 4}
START_TIMEOUT_S = 600  # a busy machine is no reason to give up


@contextmanager
def served(models: Path, log: Path) -> Iterator[str]:
    """Run the server with the demonstration's models, on a port the system chooses."""
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:  # there may be many others, and each takes its time to be verified
            (Path(folder) / name).symlink_to((models / name).resolve())
        command = [sys.executable, "-m", "service", "--models", folder]
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


def ask(client: sightline.Client) -> Shown:
    """Every question of the demonstration, one after the other."""
    photographs = [(name, IMAGENET, demo_inputs.photograph(name)) for name in PHOTOGRAPHS]
    photographs.append((f"{CAT}, {CIFAR10_PX} px", CIFAR10, demo_inputs.thumbnail(CAT, CIFAR10_PX)))
    scene, cells, line = demo_inputs.outdoor_scene(), demo_inputs.cells(), demo_inputs.LINE
    return Shown(
        classified=tuple(
            Classified(name, photo, client.classify(photo, model=model, top_k=TOP_K))
            for name, model, photo in photographs
        ),
        scene=(scene, client.segment(scene, model=STREETS)),
        cells=(cells, client.detect(cells, model=NUCLEI, max_detections=MOST_CELLS)),
        line=(line, client.predict(line, model=SHAKESPEARE, max_steps=LETTERS, **SAMPLING)),
    )


def as_table(shown: Shown) -> Table:
    """One row a question."""
    table = Table("task", "input")
    table.add_column("model", no_wrap=True)
    table.add_column("answer")
    table.add_column("time", justify="right", no_wrap=True)
    for name, _, answer in shown.classified:
        said = ", ".join(f"{short(label)} {label.score:.2f}" for label in answer.labels[:2])
        _add(table, "classify", name, answer, said)
    mask, found, text = shown.scene[1], shown.cells[1], shown.line[1]
    said = ", ".join(f"{region.label} {region.share:.0%}" for region in mask.regions[:3])
    _add(table, "segment", "china", mask, said)
    count = len(found.detections)
    said = f"{count} nuclei, scores {found.scores.min():.2f} to {found.scores.max():.2f}"
    _add(table, "detect", "cells", found, said)
    shown_text = text.text.split("\n")[0].strip()
    _add(table, "predict", "a line", text, f"{shown_text} ...")
    return table


Answer = (
    sightline.Classification
    | sightline.Segmentation
    | sightline.Detections
    | sightline.Continuation
)


def _add(table: Table, task: str, about: str, answer: Answer, said: str) -> None:
    milliseconds = f"{1000 * answer.timing.total_s:.1f} ms"
    table.add_row(task, about, answer.model.name, Text(said), milliseconds)


def main() -> None:
    """Ask, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--output", type=Path, default=Path("out"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (
        served(arguments.models, arguments.output / "server.log") as target,
        sightline.Client(target) as client,
    ):
        client.wait_until_ready(timeout_s=START_TIMEOUT_S)
        shown = ask(client)
    Console().print(as_table(shown))
    picture = arguments.output / "demo.png"
    draw(shown, picture)
    print(f"the picture: {picture}")


if __name__ == "__main__":
    main()
