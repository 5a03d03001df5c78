"""Options that several commands share, and what they stand for."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sightline.connection import Tls
from sightline.errors import SightlineError

Model = Annotated[str, typer.Option(help="The model to ask; `sightline models` lists them.")]
Version = Annotated[int | None, typer.Option(min=1, help="Which version; else the stable one.")]
Label = Annotated[str | None, typer.Option(help="Which version, by its label, such as canary.")]
Target = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the server is.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object a line, not a table.")]
Timeout = Annotated[
    float, typer.Option(min=0.001, metavar="SECONDS", help="Longest wait for an answer.")
]
UseTls = Annotated[bool, typer.Option("--tls", help="Encrypt, and trust the public authorities.")]
TlsRoot = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Encrypt, and trust this PEM file."),
]
TlsCertificate = Annotated[
    Path | None,
    typer.Option("--tls-cert", exists=True, dir_okay=False, help="The caller's own PEM file."),
]
TlsKey = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its private key.")]


def tls_from(
    use: bool, root: Path | None, certificate: Path | None, key: Path | None
) -> Tls | None:
    """How to encrypt; None: not at all."""
    if not (use or root or certificate or key):
        return None
    try:
        return Tls(root_certificates=root, client_certificate=certificate, client_key=key)
    except ValueError as err:
        raise typer.BadParameter("--tls-cert and --tls-key go together") from err


def fail(error: SightlineError, target: str) -> NoReturn:
    """End with status 1 and one sentence."""
    typer.echo(f"sightline: {target}: {error}", err=True)
    raise typer.Exit(1) from error
