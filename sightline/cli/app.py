"""All commands of ``sightline``, each in a module of its own or provided by another package."""

from typing import Annotated

import typer

import sightline
from sightline.cli.classify import classify
from sightline.cli.detect import detect
from sightline.cli.follow import follow
from sightline.cli.models import models
from sightline.cli.predict import predict
from sightline.cli.provided import add_provided
from sightline.cli.segment import segment

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)
for command in (classify, segment, detect, predict, follow, models):
    app.command()(command)
add_provided(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightline {sightline.__version__}")
        raise typer.Exit


@app.callback()
def sightline_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Serve trained vision and sequence models, and ask them."""
