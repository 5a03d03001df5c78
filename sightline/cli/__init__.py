"""The command ``sightline``."""

import sys


def main() -> None:
    """Run it; if its libraries are missing, say how to install them."""
    try:
        from sightline.cli.app import app
    except ModuleNotFoundError as missing:
        if missing.name not in ("typer", "rich"):
            raise
        sys.exit("sightline: the command line needs more: pip install 'sightline[cli]'")
    app(prog_name="sightline")
