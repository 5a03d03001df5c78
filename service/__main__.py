"""``python -m service``: the same as ``sightline serve``; see `sightline.__main__` for the path."""

import os
import sys

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
if not sys.flags.safe_path and sys.path[0] == os.getcwd() != _HOME:  # noqa: PTH109
    del sys.path[0]

import typer  # noqa: E402

from service.commands import serve  # noqa: E402

typer.run(serve)
