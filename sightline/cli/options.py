"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sightline import SightlineError, Tls

Model = Annotated[str, typer.Option(help="Name of the model; `sightline models` lists them.")]
Version = Annotated[
    int | None, typer.Option(min=1, help="Version of the model; the default is the stable one.")
]
Label = Annotated[str | None, typer.Option(help="Label of the version, such as canary.")]
Target = Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the server.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line instead of a table.")
]
Timeout = Annotated[
    float, typer.Option(min=0.001, metavar="SECONDS", help="Longest wait for an answer.")
]
UseTls = Annotated[
    bool, typer.Option("--tls", help="Encrypt; trust the public certificate authorities.")
]
TlsRoot = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Encrypt; trust the certificate authorities in this PEM file.",
    ),
]
TlsCertificate = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", exists=True, dir_okay=False, help="PEM file with the caller's certificate."
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="PEM file with the private key of --tls-cert."),
]


def tls_from(
    use: bool, root: Path | None, certificate: Path | None, key: Path | None
) -> Tls | None:
    """How to encrypt; None sends everything in the clear."""
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
