"""``sightline serve --check``: a repository that could not be served fails it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from service.commands import register
from tests.support.artifacts import write_artifact
from tests.support.sequences import write_sequence_artifact


def check(models: Path, *flags: str) -> Result:
    app = typer.Typer()
    register(app)
    command = ["serve", "--models", str(models), "--devices", "cpu", "--check", *flags]
    return CliRunner().invoke(app, command)


def flip_a_byte(model: Path) -> None:
    path = model / "1" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def without_a_graph(model: Path) -> None:
    (model / "1" / "model.onnx").unlink()


def label_of_an_absent_version(model: Path) -> None:
    (model / "labels.json").write_text('{"stable": 7}')


def broken_labels(model: Path) -> None:
    (model / "labels.json").write_text('{"stable": ')


def invalid_manifest(model: Path) -> None:
    (model / "1" / "manifest.json").write_text('{"name": "tiny"}')


BROKEN: dict[Callable[[Path], None], tuple[str, str]] = {
    flip_a_byte: ("tiny/1", "the file was changed after the export"),
    without_a_graph: ("tiny/1", "model.onnx is missing"),
    label_of_an_absent_version: ("tiny/7", "calls it stable, and there is no"),
    broken_labels: ("tiny/1", "is not of the form"),
    invalid_manifest: ("tiny/1", "is no valid manifest"),
}


@pytest.mark.parametrize("break_it", BROKEN)
def test_a_broken_repository_fails_the_check(
    tmp_path: Path, break_it: Callable[[Path], None]
) -> None:
    write_artifact(tmp_path, "good")
    break_it(write_artifact(tmp_path).parent)
    ended = check(tmp_path)
    name, says = BROKEN[break_it]
    assert ended.exit_code == 1
    assert f"{name} cannot be served: " in ended.stderr
    assert says in ended.stderr
    assert [line.split()[-2] for line in ended.stdout.splitlines() if "FAILED" in line] == [
        "FAILED"
    ]
    assert "good/1" in ended.stdout
    assert "good/1" not in ended.stderr


def test_an_intact_repository_passes_the_check(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    (tmp_path / "tiny" / "labels.json").write_text('{"stable": 1}')
    write_sequence_artifact(tmp_path, "lstm")
    ended = check(tmp_path)
    assert ended.exit_code == 0, ended.output
    assert "stable" in ended.stdout
    assert "FAILED" not in ended.stdout
    assert "reproduced" in check(tmp_path, "--deep").stdout


def test_golden_inputs_are_replayed_by_a_deep_check_only(tmp_path: Path) -> None:
    write_artifact(tmp_path, golden=np.full((3, 3), 1 / 3, np.float32))
    assert check(tmp_path).exit_code == 0
    ended = check(tmp_path, "--deep")
    assert ended.exit_code == 1
    assert "golden inputs do not reproduce" in ended.stderr


def test_too_little_memory_for_a_sequence_fails_the_check(tmp_path: Path) -> None:
    write_sequence_artifact(tmp_path, "lstm")
    ended = check(tmp_path, "--set", "decoding.state_bytes=1")
    assert ended.exit_code == 1
    assert "decoding.state_bytes" in ended.stderr


def test_deep_without_check_is_refused(tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    ended = CliRunner().invoke(app, ["serve", "--models", str(tmp_path), "--deep"])
    assert ended.exit_code == 2
    assert "--check" in ended.stderr
