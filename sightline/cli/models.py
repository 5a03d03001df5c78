"""``sightline models``: what a server serves, and in which state it is."""

import json
from dataclasses import asdict

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sightline.answers import ModelStatus, State
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
from sightline.retry import DEFAULT_TIMEOUT_S

_STYLES = {State.READY: "green", State.LOADING: "yellow", State.FAILED: "red"}
_HASH_DIGITS = 8


def models(
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    as_json: Json = False,
    tls: UseTls = False,
    tls_root: TlsRoot = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
) -> None:
    """List the models a server knows, ready or not."""
    encryption = tls_from(tls, tls_root, tls_cert, tls_key)
    try:
        with Client(target, tls=encryption, default_timeout_s=timeout) as client:
            statuses = client.models()
    except SightlineError as err:
        fail(err, target)
    if as_json:
        for status in statuses:
            typer.echo(json.dumps(asdict(status)))
    else:
        Console().print(_table(statuses))


def _table(statuses: list[ModelStatus]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("name", "version", "task", "state", "labels", "devices"):
        table.add_column(column, no_wrap=True)
    table.add_column("artifact", min_width=_HASH_DIGITS)
    table.add_column("reason", overflow="fold")
    for status in statuses:
        table.add_row(
            Text(status.identity.name),
            str(status.identity.version),
            status.task,
            Text(status.state, style=_STYLES.get(status.state, "")),
            Text("\n".join(status.version_labels)),
            "\n".join(status.devices),
            status.identity.artifact_sha256[:_HASH_DIGITS],
            Text(status.reason),
        )
    return table
