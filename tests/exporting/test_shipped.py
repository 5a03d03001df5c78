import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from export.artifact.parity import open_session, run_session
from export.artifact.preprocess import preprocess_image
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import (
    SHIPPED_DIR,
    WeightsDescription,
    read_description,
    shipped_models,
)
from export.train.registry import RECIPES
from service.artifact.manifest import read_manifest, sha256_of

SHIPPED = sorted(shipped_models())


def describe(name: str) -> WeightsDescription:
    description = read_description(read_checkpoint(shipped_models()[name]))
    assert description is not None
    return description


def main_metric(name: str) -> str:
    return RECIPES[name].floors[0].metric


def test_the_first_model_ships() -> None:
    assert "cifar10-resnet" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_are_small(name: str) -> None:
    assert shipped_models()[name].stat().st_size < 2_500_000


@pytest.mark.parametrize("name", SHIPPED)
def test_the_model_card_says_what_the_weights_say(name: str) -> None:
    description = describe(name)
    card = " ".join((SHIPPED_DIR / f"{name}.md").read_text().split())
    assert f"**{description.metrics[main_metric(name)]:.4f}**" in card
    assert f"seed {description.seed}" in card
    assert f"sightline train {name} --data" in card
    assert description.licence in card
    assert f"{shipped_models()[name].stat().st_size:,} bytes" in card


@pytest.mark.parametrize("name", [name for name in SHIPPED if describe(name).labels])
def test_the_card_scores_every_label(name: str) -> None:
    rows = re.findall(r"^\| (\S+) \| (\d\.\d+) \|$", (SHIPPED_DIR / f"{name}.md").read_text(), re.M)
    description = describe(name)
    assert tuple(label for label, _ in rows) == description.labels
    mean = np.mean([float(score) for _, score in rows])
    assert mean == pytest.approx(description.metrics[main_metric(name)], abs=1e-3)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_reach_the_floors_of_their_recipe(name: str) -> None:
    metrics = describe(name).metrics
    assert [str(floor) for floor in RECIPES[name].floors if not floor.is_met(metrics)] == []


def test_the_cifar10_artifact_answers_sensibly(export_shipped: Callable[[str], Path]) -> None:
    artifact = export_shipped("cifar10-resnet")
    manifest, _ = read_manifest(artifact)
    assert manifest.preprocessing is not None
    assert manifest.provenance.weights_sha256 == sha256_of(shipped_models()["cifar10-resnet"])
    assert manifest.provenance.metrics == describe("cifar10-resnet").metrics
    cat = preprocess_image(Image.fromarray(skimage.data.chelsea()), manifest.preprocessing)
    (scores,) = run_session(open_session(artifact / "model.onnx"), [cat[None]])
    assert manifest.labels[scores.argmax()] in {"cat", "dog"}  # ginger, from very near
    assert scores.sum() == pytest.approx(1, abs=1e-5)
