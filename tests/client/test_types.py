"""What the type checkers of users see: strict pyright and strict mypy, on a script that imports us.

They run in an environment with the libraries that the client needs, and nothing else; and in one
with the stubs of gRPC and protobuf, which not every user has.
"""

import ast
import json
import re
import subprocess
import sys
import venv
from pathlib import Path

import grpc
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "support" / "user_script.py"
LIBRARIES = Path(grpc.__file__).parents[1]
NEEDED = ["grpc", "google", "numpy"]
STUBS = ["grpc-stubs", "google-stubs"]
MISSPELT_NAMES = """\
from sightline import Clientt
import sightline

print(sightline.Unavailablee)
"""


def misspelt(code: str) -> tuple[str, set[str]]:
    """The code with each keyword argument misspelt, each in its own way; and these names."""
    lines, names = code.splitlines(keepends=True), set[str]()
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.keyword)]
    for number, each in enumerate(sorted(found, key=lambda k: (-k.lineno, -k.col_offset))):
        assert each.arg
        wrong = f"{each.arg}_{number}"
        line, end = lines[each.lineno - 1], each.col_offset + len(each.arg)
        lines[each.lineno - 1] = line[: each.col_offset] + wrong + line[end:]
        names.add(wrong)
    return "".join(lines), names


@pytest.fixture(scope="module", params=[[], STUBS], ids=["user", "user with stubs"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project: an environment and two scripts, one of them with mistakes."""
    folder = tmp_path_factory.mktemp("project")
    venv.create(folder / "venv", symlinks=True)
    (packages,) = folder.glob("venv/lib/python*/site-packages")
    for name in (*NEEDED, *request.param):
        (packages / name).symlink_to(LIBRARIES / name)
    (packages / "sightline").symlink_to(ROOT / "sightline")
    (folder / "script.py").write_text(SCRIPT.read_text())
    (folder / "misspelt.py").write_text(misspelt(SCRIPT.read_text())[0])
    (folder / "names.py").write_text(MISSPELT_NAMES)
    settings = {"include": ["*.py"], "strict": ["."], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return folder


CHECKERS = {
    "pyright": ["pyright", "--pythonpath", "venv/bin/python"],
    "mypy": ["mypy", "--strict", "--python-executable", "venv/bin/python", "."],
}


@pytest.fixture(scope="module", params=CHECKERS)
def errors(request: pytest.FixtureRequest, folder: Path) -> dict[str, list[str]]:
    """The errors that a checker finds in each file."""
    checker = [sys.executable, "-P", "-m", *CHECKERS[request.param]]
    run = subprocess.run(checker, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    found: dict[str, list[str]] = {"script.py": [], "misspelt.py": [], "names.py": []}
    for path, message in re.findall(r"^\s*(\S+\.py):\d+.*\berror: (.*)", run.stdout, re.MULTILINE):
        found.setdefault(Path(path).name, []).append(message)
    return found


def test_a_script_that_uses_everything_has_no_type_error(errors: dict[str, list[str]]) -> None:
    assert errors["script.py"] == []


def test_every_misspelt_argument_is_found(errors: dict[str, list[str]]) -> None:
    _, names = misspelt(SCRIPT.read_text())
    found = {name for error in errors["misspelt.py"] for name in re.findall(r'"(\w+)"', error)}
    assert len(names) > 100
    assert names - found == set()


def test_every_misspelt_name_of_the_package_is_found(errors: dict[str, list[str]]) -> None:
    assert any('"Clientt"' in error for error in errors["names.py"])
    assert any('"Unavailablee"' in error for error in errors["names.py"])


def test_no_other_file_has_an_error(errors: dict[str, list[str]]) -> None:
    assert set(errors) == {"script.py", "misspelt.py", "names.py"}
