"""``sightline classify``: photos in, a table of labels out."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from sightline.answers import Classification
from sightline.cli.asking import asks_server, usage
from sightline.cli.options import Json, Label, Model, Version
from sightline.cli.photos import Photos, about, add_about, print_lines, print_table, with_progress
from sightline.client import Client

_BAR_WIDTH = 12

TopK = Annotated[
    int | None, typer.Option(min=1, help="Labels for each photo, best first; if not given, 5.")
]


@asks_server
def classify(
    client: Client,
    photos: Photos,
    model: Model,
    version: Version = None,
    label: Label = None,
    top_k: TopK = None,
    as_json: Json = False,
) -> int:
    """Say what each photo shows. Status 1: a photo has no answer."""
    with usage():
        outcomes = client.classify_stream(
            photos, model=model, version=version, label=label, top_k=top_k
        )
    answered = with_progress(zip(photos, outcomes, strict=True), len(photos))
    if as_json:
        return print_lines(answered, asdict)
    return print_table(answered, _table(), _rows)


def _table() -> Table:
    table = Table()
    table.add_column("photo", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("", width=_BAR_WIDTH)
    return add_about(table)


def _rows(answer: Classification) -> Iterator[tuple[Text | Bar | str, ...]]:
    end = about(answer.model, answer.timing)
    for place, label in enumerate(answer.labels):
        bar = Bar(size=1, begin=0, end=label.score, width=_BAR_WIDTH)
        yield (Text(label.name), f"{label.score:.1%}", bar, *(end if place == 0 else ()))
    if not answer.labels:
        yield (Text("no label", style="dim"), "", "", *end)
