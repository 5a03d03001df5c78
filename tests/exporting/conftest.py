import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from export.artifact.spec import Origin
from export.commands import register
from export.models import build
from export.pytorch.description import shipped_models
from export.pytorch.exporter import export_module
from export.pytorch.heads.classification import prepare
from export.pytorch.network import ArtifactOptions, Network
from export.pytorch.resolve import NetworkSource, export_source
from service.artifact.manifest import ImagePreprocessing

TINY = ImagePreprocessing(
    height=16, width=16, crop_share=1.0, mean=(125.0, 123.0, 114.0), std=(63.0, 62.0, 67.0)
)
LABELS = ("ant", "bee", "cow", "dog", "elk")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data sets: `SIGHTLINE_DATA`, or ``shared/data`` beside the checkout."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SIGHTLINE_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data in {folder}; set SIGHTLINE_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("resnet18", width=4, num_classes=len(LABELS), small_images=True)


ExportTiny = Callable[..., Path]


@pytest.fixture(scope="session")
def export_tiny() -> ExportTiny:
    """Export a classifier of 16x16 images and five labels: ``(module, output, **spec)``."""

    def export(module: torch.nn.Module, output: Path, **changes: Any) -> Path:
        network = Network(module, TINY, LABELS, "resnet18", Origin(source="a test"))
        classifier, spec = prepare(network, ArtifactOptions("tiny"))
        return export_module(classifier, replace(spec, **changes), output)

    return export


@pytest.fixture
def run() -> Callable[..., Result]:
    """The exporter's commands, as a user runs them."""
    app = typer.Typer()
    register(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n")
    return path


@pytest.fixture(scope="session")
def export_shipped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Export a shipped model, once in a session."""
    output = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def export(name: str) -> Path:
        assert name in shipped_models()
        if name not in made:
            made[name] = export_source(NetworkSource(name), ArtifactOptions(name), output)
        return made[name]

    return export
