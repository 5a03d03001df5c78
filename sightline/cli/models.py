"""``sightline models``: the models of a server, and their states."""

import json
from dataclasses import asdict

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sightline import Client, ModelStatus, State
from sightline.cli.asking import asks_server
from sightline.cli.options import Json

_STYLES = {State.READY: "green", State.LOADING: "yellow", State.FAILED: "red"}
_HASH_DIGITS = 8


@asks_server
def models(client: Client, as_json: Json = False) -> int:
    """List the models a server knows, ready or not."""
    statuses = client.models()
    if as_json:
        for status in statuses:
            typer.echo(json.dumps(asdict(status)))
    else:
        Console().print(_table(statuses))
        for status in statuses:
            if status.reason:
                name = f"{status.identity.name}/{status.identity.version}"
                typer.secho(f"{name}: {status.reason}", fg="red")
    return 0


def _table(statuses: list[ModelStatus]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("name", "version", "task", "state", "labels", "devices"):
        table.add_column(column, no_wrap=True)
    table.add_column("artifact", no_wrap=True)
    for status in statuses:
        table.add_row(
            Text(status.identity.name),
            str(status.identity.version),
            status.task,
            Text(status.state, style=_STYLES.get(status.state, "")),
            Text("\n".join(status.version_labels)),
            "\n".join(status.devices),
            status.identity.artifact_sha256[:_HASH_DIGITS],
        )
    return table
