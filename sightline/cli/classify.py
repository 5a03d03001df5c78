"""``sightline classify``: images in, a table of labels out."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from sightline import Classification, Client
from sightline.cli.asking import asks_server, usage
from sightline.cli.images import Images, about, add_about, print_lines, print_table, with_progress
from sightline.cli.options import Json, Label, Model, Version

_BAR_WIDTH = 12

TopK = Annotated[
    int | None, typer.Option(min=1, help="Labels for each image, best first; the default is 5.")
]


@asks_server
def classify(
    client: Client,
    images: Images,
    model: Model,
    version: Version = None,
    label: Label = None,
    top_k: TopK = None,
    as_json: Json = False,
) -> int:
    """Show the labels of each image. The exit status is 1 if an image has no answer."""
    with usage():
        outcomes = client.classify_stream(
            images, model=model, version=version, label=label, top_k=top_k
        )
    answered = with_progress(zip(images, outcomes, strict=True), len(images))
    if as_json:
        return print_lines(answered, asdict)
    return print_table(answered, _table(), _rows)


def _table() -> Table:
    table = Table()
    table.add_column("image", overflow="fold")
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
