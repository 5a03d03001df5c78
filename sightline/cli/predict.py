"""``sightline predict``: continues a text, tokens or numbers, and shows each step as it is made."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sightline import Client, Continuation, HistoryLike, Step, StepStream
from sightline.cli.asking import asks_server, usage
from sightline.cli.options import Json, Label, Model, Version
from sightline.cli.series import read_csv, values_in

Text = Annotated[str | None, typer.Argument(help="Text to continue; - reads standard input.")]
Numbers = Annotated[
    str | None, typer.Option("--values", help="Numbers to continue, such as 1,2.5,3.")
]
Tokens = Annotated[str | None, typer.Option(help="Tokens to continue, such as 17,4,2.")]
Csv = Annotated[
    Path | None, typer.Option(help="CSV file of numbers to continue; - reads standard input.")
]
Column = Annotated[
    list[str] | None,
    typer.Option(help="Column of the CSV file, by name or number; repeat it for several series."),
]
MaxSteps = Annotated[
    int | None,
    typer.Option(min=1, help="Most steps to make; the default is 1, or a whole transcription."),
]
AtOnce = Annotated[
    bool, typer.Option("--at-once", help="Show all steps together; for models that transcribe.")
]
Temperature = Annotated[
    float | None,
    typer.Option(min=0, max=10, help="Randomness of the steps; 0 takes the likeliest each time."),
]
TopK = Annotated[int | None, typer.Option(min=1, help="Choose among the k likeliest tokens only.")]
TopP = Annotated[
    float | None,
    typer.Option(help="Choose among the likeliest tokens that together have this probability."),
]
Penalty = Annotated[
    float | None, typer.Option(min=1, max=10, help="Penalty for repeated tokens; 1 is none.")
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Seed that makes a sampled answer repeatable.")
]
Beams = Annotated[
    int | None, typer.Option(min=1, max=16, help="Beams of a beam search; 1 is no search.")
]
Stop = Annotated[list[str] | None, typer.Option(help="Stop after this text; may be repeated.")]
ExcludeStop = Annotated[
    bool, typer.Option("--exclude-stop", help="Leave the text of --stop out of the answer.")
]
Alternatives = Annotated[
    int, typer.Option(min=0, max=20, help="Likely tokens to report for each step in --json.")
]
Interval = Annotated[
    float | None,
    typer.Option(help="Share of outcomes that the interval covers; the default is 0.9."),
]


@asks_server
def predict(
    client: Client,
    model: Model,
    text: Text = None,
    values: Numbers = None,
    tokens: Tokens = None,
    csv: Csv = None,
    column: Column = None,
    version: Version = None,
    label: Label = None,
    max_steps: MaxSteps = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: Penalty = None,
    seed: Seed = None,
    beams: Beams = None,
    stop: Stop = None,
    exclude_stop: ExcludeStop = False,
    alternatives: Alternatives = 0,
    interval: Interval = None,
    at_once: AtOnce = False,
    as_json: Json = False,
) -> int:
    """Continue a text, tokens or numbers, and show each step as it is made."""
    ask = client.predict if at_once else client.predict_stream
    with usage():
        history = _history(text, values, tokens, csv, column or [])
        answer = ask(
            history,
            model=model,
            version=version,
            label=label,
            max_steps=max_steps,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            beams=beams,
            stop=stop or (),
            exclude_stop=exclude_stop,
            alternatives=alternatives,
            interval=interval,
        )
    if isinstance(answer, Continuation):
        _print(history, answer, as_json)
        return 0
    with answer as stream:
        _print(history, stream, as_json)
    return 0


def _history(
    text: str | None,
    values: str | None,
    tokens: str | None,
    csv: Path | None,
    columns: list[str],
) -> HistoryLike:
    if sum(given is not None for given in (text, values, tokens, csv)) != 1:
        raise ValueError("pass one history: a text, --values, --tokens or --csv")
    if values is not None:
        return values_in(values)
    if tokens is not None:
        return [int(token) for token in tokens.replace(",", " ").split()]
    if csv is not None:
        try:
            return read_csv(csv, columns)
        except OSError as error:
            raise ValueError(str(error)) from error
    return sys.stdin.read() if text == "-" else text or ""


def _print(history: HistoryLike, answer: StepStream | Continuation, as_json: bool) -> None:
    steps = answer.steps if isinstance(answer, Continuation) else answer
    if as_json:
        _print_lines(steps, answer)
    else:
        _print_as_made(history, steps)


def _print_as_made(history: HistoryLike, steps: Iterable[Step]) -> None:
    number = 0
    try:
        for number, step in enumerate(steps, 1):
            if number == 1 and isinstance(history, str):
                typer.secho(history, nl=False, dim=True)
            if step.values.size:
                typer.echo(f"{number:>4}  {in_words(step)}")
            else:
                typer.echo(step.text or f"{step.token} ", nl=False)
            sys.stdout.flush()  # show each step as it is made
    finally:
        if number:
            typer.echo()  # an error starts on a new line


def _print_lines(steps: Iterable[Step], answer: StepStream | Continuation) -> None:
    """A JSON object for each step, and a last one with the reason it ended and the model."""
    for step in steps:
        typer.echo(json.dumps(described(step)))
    end = {"finish_reason": answer.finish_reason} | {
        name: known and asdict(known)
        for name, known in (("model", answer.model), ("timing", answer.timing))
    }
    typer.echo(json.dumps(end))


def described(step: Step) -> dict[str, Any]:
    """A step for JSON: its values for numbers, its token for text."""
    if step.values.size:
        rows = {"values": step.values, "lower": step.lower, "upper": step.upper}
        return {name: row.tolist() for name, row in rows.items()}
    alternatives = [asdict(each) for each in step.alternatives]
    return {
        "text": step.text,
        "token": step.token,
        "log_probability": step.log_probability,
    } | ({"alternatives": alternatives} if alternatives else {})


def in_words(step: Step) -> str:
    """A step of numbers for people: each value with its interval."""
    rows = zip(step.values.tolist(), step.lower.tolist(), step.upper.tolist(), strict=False)
    words = [f"{value:.6g} ({lower:.6g} to {upper:.6g})" for value, lower, upper in rows]
    return "  ".join(words or [f"{value:.6g}" for value in step.values.tolist()])
