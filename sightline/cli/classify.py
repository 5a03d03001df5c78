"""``sightline classify``: photos in, a table of labels out."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.bar import Bar
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from sightline.answers import Classification, ItemFailed, Outcome
from sightline.cli.options import (
    Json,
    Target,
    Timeout,
    TlsCertificate,
    TlsKey,
    TlsRoot,
    UseTls,
    fail,
    tls_from,
)
from sightline.client import Client
from sightline.connection import DEFAULT_TARGET
from sightline.errors import SightlineError
from sightline.requests import DEFAULT_BATCH_SIZE
from sightline.retry import DEFAULT_TIMEOUT_S

_MANY = 2 * DEFAULT_BATCH_SIZE
_BAR_WIDTH = 12

Photos = Annotated[list[Path], typer.Argument(help="Image files: JPEG, PNG, WebP or BMP.")]
Model = Annotated[str, typer.Option(help="The model to ask; `sightline models` lists them.")]
Version = Annotated[int | None, typer.Option(min=1, help="Which version; else the stable one.")]
Label = Annotated[str | None, typer.Option(help="Which version, by its label, such as canary.")]
TopK = Annotated[
    int | None, typer.Option(min=1, help="Labels for each photo, best first; if not given, 5.")
]
Answered = tuple[Path, Outcome]


def classify(
    photos: Photos,
    model: Model,
    version: Version = None,
    label: Label = None,
    top_k: TopK = None,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    as_json: Json = False,
    tls: UseTls = False,
    tls_root: TlsRoot = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
) -> None:
    """Say what each photo shows. Status 1: a photo has no answer."""
    if version is not None and label is not None:
        raise typer.BadParameter("--version and --label: pass one of them")
    encryption = tls_from(tls, tls_root, tls_cert, tls_key)
    try:
        with Client(target, tls=encryption, default_timeout_s=timeout) as client:
            outcomes = client.classify_stream(
                photos, model=model, version=version, label=label, top_k=top_k
            )
            answered = _with_progress(zip(photos, outcomes, strict=True), len(photos))
            failures = _print_lines(answered) if as_json else _print_table(answered)
    except SightlineError as err:
        fail(err, target)
    raise typer.Exit(1 if failures else 0)


def _with_progress(answered: Iterable[Answered], total: int) -> Iterable[Answered]:
    console = Console(stderr=True)
    is_hidden = total < _MANY or not console.is_terminal
    return track(answered, "classifying", total, console=console, transient=True, disable=is_hidden)


def _print_lines(answered: Iterable[Answered]) -> int:
    """Print a JSON object for each photo as its answer comes; returns how many have failed."""
    failures = 0
    for photo, outcome in answered:
        match outcome:
            case Classification():
                answer = asdict(outcome)
            case ItemFailed():
                failures += 1
                answer = {"error": {"code": outcome.code.name, "message": outcome.message}}
        typer.echo(json.dumps({"photo": str(photo)} | answer))
    return failures


def _print_table(answered: Iterable[Answered]) -> int:
    """Print one table when all answers are there; returns how many photos have failed."""
    failures = 0
    table = Table()
    table.add_column("photo", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("", width=_BAR_WIDTH)
    table.add_column("model", no_wrap=True)
    table.add_column("ms", justify="right")
    for photo, outcome in answered:
        failures += isinstance(outcome, ItemFailed)
        name = photo.name  # a whole path would leave no room; --json has it
        for row in _rows(outcome):
            table.add_row(Text(name), *row)
            name = ""  # on the first of its rows only
        table.add_section()
    Console().print(table)
    return failures


def _rows(outcome: Outcome) -> Iterator[tuple[Text | Bar | str, ...]]:
    if isinstance(outcome, ItemFailed):
        yield (Text(outcome.message, style="red"),)
        return
    model = f"{outcome.model.name}/{outcome.model.version}"
    took = f"{outcome.timing.total_s * 1e3:.1f}"
    for place, label in enumerate(outcome.labels):
        bar = Bar(size=1, begin=0, end=label.score, width=_BAR_WIDTH)
        about = (model, took) if place == 0 else ()
        yield (Text(label.name), f"{label.score:.1%}", bar, *about)
    if not outcome.labels:
        yield (Text("no label", style="dim"), "", "", model, took)
