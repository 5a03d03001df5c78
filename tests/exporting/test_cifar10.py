import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from export.errors import DataError
from export.models import build
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import read_description
from export.pytorch.resolve import NetworkSource, resolve
from export.train.classification.cifar10_classifiers import CLASSIFIERS
from export.train.classification.cifar10_training import (
    AUXILIARY_WEIGHT,
    Cifar10Classifier,
    as_served,
    smoothed_cross_entropy,
)
from export.train.data.cifar10 import CIFAR10_FILE, CIFAR10_LABELS, read_cifar10
from export.train.registry import RECIPES, train


def write_parquet(folder: Path, labels: list[str], split: list[str]) -> None:
    generator = np.random.default_rng(0)
    images = []
    for _ in labels:
        file = io.BytesIO()
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
        images.append(file.getvalue())
    table = pa.table({"split": split, "label": labels, "image": images})
    pyarrow.parquet.write_table(table, folder / CIFAR10_FILE)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    labels = [*CIFAR10_LABELS] * 4
    write_parquet(tmp_path, labels, ["train"] * 20 + ["test"] * 20)
    return tmp_path


def test_a_split_is_read_in_the_order_of_the_labels(data_dir: Path) -> None:
    test = read_cifar10(data_dir, "test")
    assert (test.images.shape, test.images.dtype) == ((20, 3, 32, 32), torch.uint8)
    assert test.targets.tolist() == [*range(10)] * 2


def test_labels_that_are_unknown_to_cifar10_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path, ["cat", "unicorn"], ["train", "train"])
    with pytest.raises(DataError, match="unicorn"):
        read_cifar10(tmp_path, "train")
    with pytest.raises(DataError, match="no rows of the split test"):
        read_cifar10(tmp_path, "test")


def test_a_recipe_leaves_weights_that_export_by_themselves(data_dir: Path, tmp_path: Path) -> None:
    name = "cifar10-alexnet"
    weights = train(name, data_dir, tmp_path / "out", epochs=1)
    report = json.loads((weights.parent / "report.json").read_text())
    description = read_description(read_checkpoint(weights))
    assert description is not None
    assert description.metrics == {"top1": report["score"]["top1"]}
    card = weights.with_suffix(".md").read_text()
    assert f"**{report['score']['top1']:.4f}**" in card
    network = resolve(NetworkSource("anything", weights))
    assert network.labels == CIFAR10_LABELS
    assert network.origin.metrics == description.metrics
    (artifact,) = (weights.parent / "artifact" / name).iterdir()
    assert RECIPES[name].score(artifact, data_dir) == description.metrics


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda each: each.name)
def test_shipped_forms_fit_the_size_limit(classifier: Cifar10Classifier) -> None:
    description = classifier.description
    with torch.device("meta"):
        state = build(description.architecture, **description.options).state_dict()
    half_bytes = sum(2 * tensor.numel() for tensor in state.values())
    assert half_bytes < 2_450_000  # names and metadata come on top


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda each: each.name)
def test_the_trained_network_has_all_weights_that_are_served(classifier: Cifar10Classifier) -> None:
    description = classifier.description
    options = {**description.options, **classifier.training_options}
    trained = build(description.architecture, **options).eval()
    served = as_served(trained, description)
    assert not any(key.startswith("aux") for key in served.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(served(images), trained(images))


def test_auxiliary_heads_add_their_share_to_the_loss() -> None:
    right, wrong = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
    batch = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.tensor([0])

    def loss_of(main: Tensor, *auxiliary: Tensor) -> float:
        network = Answers((main, *auxiliary) if auxiliary else main)
        return float(smoothed_cross_entropy(network, batch))

    expected = loss_of(right) + AUXILIARY_WEIGHT * (loss_of(wrong) + loss_of(right))
    assert loss_of(right, wrong, right) == pytest.approx(expected)


class Answers(nn.Module):
    """A network that always gives the same answer."""

    def __init__(self, answer: Tensor | tuple[Tensor, ...]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.answer
