"""``python -m service``: the same as ``sightline serve``."""

import typer

from service.commands import serve

typer.run(serve)
