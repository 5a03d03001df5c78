"""What ``pip install`` brings: three distributions, each of one folder."""

import json
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import grpc
import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"sightline": ".", "service": "service", "export": "export"}  # of their pyproject.toml
LIBRARIES = Path(grpc.__file__).parents[1]

REPORT = """
import json, sys
from importlib.util import find_spec
sys.path.append(sys.argv[1])  # grpcio, protobuf, numpy; without the links to the checkout there
import sightline
print(json.dumps({
    "file": sightline.__file__,
    "version": sightline.__version__,
    "client": sightline.Client.__module__,
    "importable": [name for name in ("service", "export") if find_spec(name)],
}))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each package, built as `make build` does: from its sdist."""
    built: dict[str, Path] = {}
    for package, folder in FOLDERS.items():
        dist = tmp_path_factory.mktemp(package)
        build = [sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", str(dist)]
        subprocess.run([*build, str(ROOT / folder)], check=True, capture_output=True)
        (built[package],) = dist.glob("*.whl")
    return built


def files_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def of_the_folder(package: str) -> set[str]:
    files = [each for each in (ROOT / package).rglob("*") if each.is_file()]
    return {
        str(each.relative_to(ROOT))
        for each in files
        if "__pycache__" not in each.parts and each.name != "pyproject.toml"
    }


@pytest.mark.parametrize("package", FOLDERS)
def test_a_distribution_holds_one_folder_all_of_it_and_the_licence(
    package: str, wheels: dict[str, Path]
) -> None:
    files = {each for each in files_of(wheels[package]) if ".dist-info/" not in each}
    assert files == of_the_folder(package)
    with zipfile.ZipFile(wheels[package]) as archive:
        (licence,) = [each for each in archive.namelist() if each.endswith("licenses/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_a_user_of_the_client_installs_one_small_package(
    wheels: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel, python = wheels["sightline"], tmp_path / "venv" / "bin" / "python"
    venv.create(tmp_path / "venv", symlinks=True)
    pip = [sys.executable, "-P", "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True)

    (installed,) = tmp_path.glob("venv/lib/python*/site-packages")
    names = sorted(each.name for each in installed.iterdir() if each.suffix != ".dist-info")
    with capsys.disabled():
        print(f"\n{wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB, installs {names}")
    assert names == ["sightline"]
    assert wheel.stat().st_size < 1e6

    asked = [str(python), "-P", "-c", REPORT, str(LIBRARIES)]
    done = subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert Path(report["file"]).is_relative_to(installed)
    assert report["client"].startswith("sightline.")
    assert report["importable"] == []
    assert report["version"] == project_of("sightline")["version"]


def project_of(package: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / FOLDERS[package] / "pyproject.toml").read_text())["project"]


def test_the_three_are_of_one_version_and_ask_for_no_other() -> None:
    projects = {each: project_of(each) for each in FOLDERS}
    (version,) = {each["version"] for each in projects.values()}
    assert f"sightline[cli]=={version}" in projects["service"]["dependencies"]
    assert f"sightline-server[cpu]=={version}" in projects["export"]["dependencies"]


def test_the_image_is_built_of_neither_the_exporter_nor_its_weights() -> None:
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    rules = [each for each in lines if each and not each.startswith("#")]
    assert rules[0] == "*"
    taken = {each.removeprefix("!") for each in rules if each.startswith("!")}
    assert taken >= {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert {each for each in taken if (ROOT / each).is_dir()} == {"sightline", "service"}
    assert not re.search(r"\bexport\b|weights/", (ROOT / "Dockerfile").read_text())
