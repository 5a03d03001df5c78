"""``sightline follow``: reads observations from standard input, and prints predictions."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from sightline import Client, HistoryLike, Prediction
from sightline.cli.asking import asks_server, usage
from sightline.cli.options import Json, Label, Model, Version
from sightline.cli.predict import Interval, described, in_words
from sightline.cli.series import values_in

Ahead = Annotated[
    int, typer.Option("--max-steps", min=1, help="Steps to predict after each observation.")
]
AsText = Annotated[
    bool, typer.Option("--text", help="Read lines of text instead of lines of numbers.")
]
Resume = Annotated[
    bool, typer.Option(help="Send the history again when the server loses its state.")
]


@asks_server
def follow(
    client: Client,
    model: Model,
    version: Version = None,
    label: Label = None,
    max_steps: Ahead = 1,
    interval: Interval = None,
    is_text: AsText = False,
    resume: Resume = True,
    as_json: Json = False,
) -> int:
    """Read observations, one per line, and print what is expected after each."""
    with usage():
        stream = client.follow(
            model=model,
            version=version,
            label=label,
            resume=resume,
            max_steps=max_steps,
            interval=interval,
        )
    with stream:
        for number, line in enumerate(sys.stdin, 1):
            _print(stream.observe(_observed(number, line, is_text)), as_json)
        if (last := stream.finish()) is not None:
            _print(last, as_json)
    return 0


def _print(prediction: Prediction, as_json: bool) -> None:
    typer.echo(_line(prediction) if as_json else _words(prediction))
    sys.stdout.flush()  # a program may wait for it before it sends the next line


def _observed(number: int, line: str, is_text: bool) -> HistoryLike:
    if is_text:
        return line
    try:
        return [values_in(line)]  # one step of one or several series
    except ValueError as error:
        raise typer.BadParameter(f"line {number}: {error} (--text for lines of text)") from error


def _line(prediction: Prediction) -> str:
    steps = [described(step) for step in prediction.steps]
    answer: dict[str, Any] = {"observed_steps": prediction.observed_steps, "steps": steps}
    if prediction.padded_samples:
        answer["padded_samples"] = prediction.padded_samples
    return json.dumps(answer | {"model": asdict(prediction.model)})


def _words(prediction: Prediction) -> str:
    if prediction.steps and prediction.steps[0].values.size:
        return " | ".join(in_words(step) for step in prediction.steps)
    return prediction.text or " ".join(str(token) for token in prediction.tokens)
