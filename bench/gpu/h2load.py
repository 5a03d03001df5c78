"""Finds an h2load that is not on the PATH: beside the carried packages, with its own libraries."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

PROGRAM = Path("h2load/h2load")


def put_on_path(folders: list[str] | None = None) -> None:
    """If there is no h2load, look in ``folders`` (``sys.path``) and start it from there.

    A GPU machine that can fetch nothing has it as a folder ``h2load`` with the program and its
    libraries, which nothing else must load.
    """
    if shutil.which("h2load"):
        return
    for folder in sys.path if folders is None else folders:
        program = Path(folder, PROGRAM).absolute()
        if program.is_file():
            wrapper_dir = Path(tempfile.mkdtemp(prefix="sightline-h2load-"))
            atexit.register(shutil.rmtree, wrapper_dir, ignore_errors=True)
            wrapper = wrapper_dir / "h2load"
            wrapper.write_text(
                f'#!/bin/sh\nLD_LIBRARY_PATH="{program.parent}" exec "{program}" "$@"\n'
            )
            wrapper.chmod(0o755)
            os.environ["PATH"] = f"{wrapper_dir}{os.pathsep}{os.environ.get('PATH', '')}"
            return
