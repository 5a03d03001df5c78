from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from typer.testing import Result

from export.errors import DataError
from export.evaluate import evaluate, newest_artifact, page
from export.pytorch.description import shipped_models
from export.train.recipe import Floor, Recipe
from export.train.registry import RECIPES

ExportTiny = Callable[..., Path]
Run = Callable[..., Result]


def recipe(scores: Mapping[str, float], *floors: Floor) -> Recipe:
    def never(*_: Any) -> Path:
        raise AssertionError("nothing is trained here")

    return Recipe("tiny", "nothing, test split", never, lambda *_: scores, floors)


@pytest.mark.parametrize(
    ("floor", "score", "is_met"),
    [
        (Floor("top1", at_least=0.86), 0.86, True),
        (Floor("top1", at_least=0.86), 0.8599, False),
        (Floor("bits", at_most=2.35), 2.35, True),
        (Floor("bits", at_most=2.35), 2.36, False),
        (Floor("top1", at_least=0.5), float("nan"), False),
    ],
)
def test_a_floor_is_reached_or_missed(floor: Floor, score: float, is_met: bool) -> None:
    assert floor.is_met({floor.metric: score}) is is_met


def test_the_newest_version_is_scored(tmp_path: Path) -> None:
    for version in ("2", "10", ".partial-x"):
        (tmp_path / "tiny" / version).mkdir(parents=True)
    assert newest_artifact(tmp_path, "tiny").name == "10"
    with pytest.raises(DataError, match="sightline export other --output"):
        newest_artifact(tmp_path, "other")


def test_an_artifact_is_scored_where_it_lies(
    export_tiny: ExportTiny, tiny_network: nn.Module, tmp_path: Path
) -> None:
    artifact = export_tiny(tiny_network, tmp_path)
    found = evaluate(recipe({"top1": 0.9}, Floor("top1", at_least=0.8)), artifact, tmp_path)
    assert found.reaches_floors
    assert found.manifest.name == "tiny"
    assert len(found.artifact_sha256) == 64


@pytest.mark.parametrize(("score", "status", "says"), [(0.9, 0, "reached"), (0.7, 1, "MISSED")])
def test_the_command_ends_with_1_where_a_floor_is_missed(
    run: Run,
    score: float,
    status: int,
    says: str,
    export_tiny: ExportTiny,
    tiny_network: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = recipe({"top1": score}, Floor("top1", at_least=0.8))
    monkeypatch.setitem(RECIPES, "tiny", made)
    export_tiny(tiny_network, tmp_path)
    result = run("evaluate", "tiny", "--data", tmp_path, "--models", tmp_path)
    assert result.exit_code == status, result.output
    assert says in result.output
    assert f"top1 {score}" in result.output


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_one_name_or_all_must_be_asked_for(run: Run, verb: str, tmp_path: Path) -> None:
    for words in ([], ["cifar10-resnet", "--all"]):
        result = run(verb, *words, "--data", tmp_path)
        assert result.exit_code == 2
        assert "give one name, or --all" in result.output


def test_an_unknown_recipe_suggests_the_nearest(run: Run, tmp_path: Path) -> None:
    result = run("evaluate", "cifar10-resnt", "--data", tmp_path)
    assert result.exit_code == 1
    assert "did you mean 'cifar10-resnet'?" in result.output


def test_every_shipped_model_has_a_recipe_and_every_recipe_a_name_of_its_own() -> None:
    assert set(shipped_models()) <= set(RECIPES)
    assert all(name == each.name for name, each in RECIPES.items())


def test_the_page_names_every_score(
    export_tiny: ExportTiny, tiny_network: nn.Module, tmp_path: Path
) -> None:
    artifact = export_tiny(tiny_network, tmp_path, name="cifar10-resnet")
    made = recipe({"top1": 0.9123}, Floor("top1", at_least=0.95))
    made = Recipe("cifar10-resnet", made.held_out, made.run, made.score, made.floors)
    text = page([evaluate(made, artifact, tmp_path)])
    assert "[cifar10-resnet](../export/weights/cifar10-resnet.md)" in text
    assert "top1 0.9123" in text
    assert "top1 ≥ 0.95 **missed**" in text
