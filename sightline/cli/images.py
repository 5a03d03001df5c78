"""What the commands about images share."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from sightline import ItemFailed, ModelIdentity, Outcome, Timing
from sightline.requests.batches import DEFAULT_BATCH_SIZE

_MANY = 2 * DEFAULT_BATCH_SIZE

Answer = TypeVar("Answer")
Answered = tuple[Path, Outcome[Answer]]

Images = Annotated[list[Path], typer.Argument(help="Image files: JPEG, PNG, WebP or BMP.")]
Save = Annotated[
    Path | None,
    typer.Option(
        help="Draw the answers into this image file, or into this folder, one file for each image."
    ),
]


def with_progress(answered: Iterable[Answered[Answer]], total: int) -> Iterable[Answered[Answer]]:
    """The same items, with a progress bar on a terminal when there are many."""
    console = Console(stderr=True)
    is_hidden = total < _MANY or not console.is_terminal
    return track(answered, "asking", total, console=console, transient=True, disable=is_hidden)


def print_lines(
    answered: Iterable[Answered[Answer]], describe: Callable[[Answer], dict[str, Any]]
) -> int:
    """Print a JSON object for each image as its answer comes; returns how many failed."""
    failures = 0
    for path, outcome in answered:
        if isinstance(outcome, ItemFailed):
            failures += 1
            answer = {"error": {"code": outcome.code.name, "message": outcome.message}}
        else:
            answer = describe(outcome)
        typer.echo(json.dumps({"photo": str(path)} | answer))
    return failures


def print_table(
    answered: Iterable[Answered[Answer]],
    table: Table,
    rows: Callable[[Answer], Iterable[tuple[Any, ...]]],
) -> int:
    """Print one table when all answers are there; returns how many images failed.

    They are named below the table, on stderr, with the reason.
    """
    failures: list[str] = []
    for path, outcome in answered:
        name = path.name  # a whole path would leave no room; --json has it
        if isinstance(outcome, ItemFailed):
            message = outcome.message.removeprefix(f"{path}: ")
            failures.append(f"sightline: {path}: {message}")
            continue
        for row in rows(outcome):
            table.add_row(Text(name), *row)
            name = ""  # on the first of its rows only
        table.add_section()
    if table.row_count:
        Console().print(table)
    for failure in failures:
        typer.secho(failure, err=True, fg="red")
    return len(failures)


def about(model: ModelIdentity, timing: Timing) -> tuple[str, str]:
    """The last two columns of each table: the model, and the time in milliseconds."""
    return f"{model.name}/{model.version}", f"{timing.total_s * 1e3:.1f}"


def add_about(table: Table) -> Table:
    """The columns that ``about`` fills."""
    table.add_column("model", no_wrap=True)
    table.add_column("ms", justify="right")
    return table
