"""A server imports nothing from the folder that it is started in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import service
import sightline
from tests.support.artifacts import write_artifact
from tests.support.running import Server

ROOT = Path(service.__file__).parents[1]
ROW = np.zeros((4, 4), np.uint8)
PACKAGES = ("service", "export", "numpy", "grpc", "onnxruntime", "cv2", "pydantic", "typer")
LIBRARY = ("sitecustomize", "usercustomize", "asyncio", "ctypes", "json", "logging", "random")
LIBRARY += ("signal", "socket", "threading")

# The script `sightline`: Python puts the script's folder first, not the current one.
SCRIPT = "from sightline.cli import main\nmain()\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: models, and beside them files with the names of packages."""
    folder = tmp_path / "user"
    write_artifact(folder / "models")
    for name in PACKAGES:
        add_hostile(folder, name)
    return folder


def add_hostile(folder: Path, name: str) -> None:
    mark = f"import os; os.close(os.open('ran-{name}', os.O_CREAT))\n"
    (folder / f"{name}.py").write_text(mark + "raise ImportError('not what was meant')\n")


@contextmanager
def served(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """A server with its current folder, until the block ends."""
    command += ["--models", "models", "--devices", "cpu", "--grpc-port", "0", "--http-port", "0"]
    environment = {**os.environ, **(environment or {})}
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
    )
    server = Server(process)
    try:
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def assert_serves(server: Server, folder: Path) -> None:
    server.wait_until_ready()
    with sightline.Client(server.target) as client:
        assert client.classify(ROW, model="tiny").labels
    assert not any("ended with" in line for line in server.log)
    assert not list(folder.glob("ran-*"))


def test_a_server_runs_no_file_of_the_folder_that_it_is_started_in(
    folder: Path, tmp_path: Path
) -> None:
    for name in LIBRARY:
        add_hostile(folder, name)
    script = tmp_path / "bin" / "sightline"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    with served([sys.executable, str(script), "serve"], folder) as server:
        assert_serves(server, folder)


def test_a_server_started_as_a_module_imports_no_package_of_that_folder(folder: Path) -> None:
    """Of its own library Python imports some first; no code of ours can prevent that."""
    with served([sys.executable, "-m", "sightline", "serve"], folder) as server:
        assert_serves(server, folder)


def copied_tree(tree: Path) -> Path:
    """The server's packages in another folder; each process says that it is of there."""
    for package in ("service", "sightline"):
        shutil.copytree(ROOT / package, tree / package)
    with (tree / "service" / "__init__.py").open("a") as lines:
        lines.write("import sys; print('of the copy:', sys.orig_argv, file=sys.stderr)\n")
    return tree


def assert_children_are_of_the_copy(server: Server) -> None:
    said = "".join(line for line in server.log if line.startswith("of the copy:"))
    assert "'service.worker'" in said
    assert "'service.frontend'" in said


def test_children_are_of_a_checkout_that_only_the_current_folder_names(tmp_path: Path) -> None:
    checkout = copied_tree(tmp_path / "checkout")
    write_artifact(checkout / "models")
    with served([sys.executable, "-m", "service"], checkout) as server:
        assert_serves(server, checkout)
        assert_children_are_of_the_copy(server)


def test_children_are_of_the_tree_that_pythonpath_names(folder: Path, tmp_path: Path) -> None:
    paths = [str(copied_tree(tmp_path / "tree")), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "sightline", "serve"]
    with served(command, folder, environment) as server:
        assert_serves(server, folder)
        assert_children_are_of_the_copy(server)
