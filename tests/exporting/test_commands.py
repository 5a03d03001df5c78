import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import Result

from export.artifact.labels import read_labels
from export.errors import FactoryError, LabelsError, PreprocessingError
from export.models import build
from export.pytorch.network import Network, call_factory
from export.pytorch.resolve import NetworkSource, merge_preprocessing, resolve
from service.artifact.manifest import ImagePreprocessing, read_manifest

Run = Callable[..., Result]


@pytest.fixture
def weights(tiny_network: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    torch.save(tiny_network.state_dict(), path)
    return path


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of someone else's, with factories of all kinds."""
    (tmp_path / "their_factories.py").write_text(
        "from torch import nn\n"
        "from export.pytorch.network import Network\n"
        "from service.artifact.manifest import ImagePreprocessing\n"
        "def bare(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))\n"
        "def whole():\n"
        "    return Network(bare(), ImagePreprocessing(height=4, width=4), ('no', 'yes'))\n"
        "def broken(): raise RuntimeError('no weights here')\n"
        "def text(): return 'a network'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "their_factories", raising=False)
    return "their_factories"


def test_a_public_checkpoint_becomes_an_artifact(
    run: Run, weights: Path, labels_file: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (30, 20), "red").save(photo)
    result = run(
        *("export", "resnet18", "--weights", weights, "--labels", labels_file),
        *("--width", 4, "--small-images", "--input-size", "16x24", "--mean", "1,2,3"),
        *("--interpolation", "bicubic", "--golden", photo, "--metric", "top1=0.5"),
        *("--name", "pets", "--version", 4, "--output", tmp_path / "models"),
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(tmp_path / "models" / "pets" / "4")]
    assert "in batches of 1, 3, 8" in result.stderr
    manifest, _ = read_manifest(tmp_path / "models" / "pets" / "4")
    assert manifest.labels == ("ant", "bee", "cow", "dog", "elk")
    assert manifest.inputs[0].axes == ("batch", 16, 24, 3)
    assert manifest.preprocessing is not None
    assert manifest.preprocessing.mean == (1, 2, 3)
    assert manifest.preprocessing.std == (58.395, 57.12, 57.375)  # ImageNet's, as nothing was said
    assert manifest.preprocessing.interpolation == "bicubic"
    assert manifest.provenance.metrics == {"top1": 0.5}
    assert len(manifest.provenance.weights_sha256) == 64
    report = json.loads((tmp_path / "models" / "pets" / "4" / "parity.json").read_text())
    assert report["inputs"]["golden"] == 1


def test_any_parameter_of_a_network_can_be_given(
    run: Run, weights: Path, labels_file: Path, tmp_path: Path
) -> None:
    words = ("export", "resnet18", "--weights", weights, "--labels", labels_file)
    output = ("--input-size", "16", "--output", tmp_path / "models")
    wrong = run(*words, "--option", "depth=3", *output)
    assert wrong.exit_code == 1
    assert "resnet18 cannot be built" in wrong.stderr
    unclear = run(*words, "--option", "width", *output)
    assert unclear.exit_code == 2
    assert not (tmp_path / "models").exists()
    right = run(*words, "--option", "width=4", "--option", "small_images=true", *output)
    assert right.exit_code == 0, right.output


def test_a_factory_brings_its_preprocessing_and_labels(
    run: Run, factories: str, tmp_path: Path
) -> None:
    result = run("export", "mine", "--factory", f"{factories}:whole", "--output", tmp_path / "m")
    assert result.exit_code == 0, result.output
    manifest, _ = read_manifest(tmp_path / "m" / "mine" / "1")
    assert (manifest.labels, manifest.architecture) == (("no", "yes"), "Sequential")
    assert manifest.provenance.source == f"{factories}:whole"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["resnet19"], "did you mean 'resnet18'"),
        (["densnet121"], "did you mean 'densenet121'"),
        (["resnet18"], "give them with --weights FILE"),
        (["resnet18", "--weights", "absent.pt"], "there is no weights file"),
        (["mine", "--factory", "nowhere"], "must be package.module:callable"),
        (["mine", "--factory", "nowhere:at_all"], "cannot be imported"),
        (["mine", "--factory", "their_factories:absent"], "cannot be imported"),
        (["mine", "--factory", "their_factories:broken"], "no weights here"),
        (["mine", "--factory", "their_factories:text"], "returned a str"),
        (["mine", "--factory", "their_factories:bare"], "give them with --labels FILE"),
        (["mine", "--factory", "their_factories:whole", "--golden", "absent.png"], "absent.png"),
        (["mine", "--factory", "their_factories:whole", "--std", "1,0,1"], "must be positive"),
        (["mine", "--factory", "their_factories:whole", "--mean", "1"], "has 1 values"),
        (["mine", "--factory", "their_factories:whole", "--crop-share", "2"], "crop_share"),
        (["A name", "--factory", "their_factories:whole"], "is no model name"),
    ],
)
@pytest.mark.usefixtures("factories")
def test_a_refusal_is_one_sentence_and_status_one(run: Run, words: list[str], says: str) -> None:
    result = run("export", *words)
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stderr.startswith("sightline: ")
    assert result.stderr.count("\n") == 1
    assert not Path("models").exists()


class Code:
    """Not a tensor: unpickling it would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def without_fc(state: dict[str, object]) -> dict[str, object]:
    return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_fc, "2 missing (such as fc.weight), none left over"),
        (lambda state: {**state, "fc2.weight": torch.zeros(1)}, "1 left over (such as fc2.weight)"),
        (lambda state: {**state, "fc.weight": torch.zeros(9, 32)}, "give one label per class"),
        (lambda state: {**state, "fc.bias": torch.full((5,), torch.nan)}, "fc.bias in"),
        (lambda state: {**state, "fc.bias": Code()}, "holds pickled code"),
    ],
    ids=("missing keys", "unexpected keys", "another class count", "NaN", "code"),
)
def test_weights_that_do_not_fit_leave_nothing_half_written(
    spoil: Callable[[dict[str, object]], dict[str, object]],
    says: str,
    run: Run,
    weights: Path,
    labels_file: Path,
    tmp_path: Path,
) -> None:
    torch.save(spoil(torch.load(weights)), weights)
    result = run(
        *("export", "resnet18", "--weights", weights, "--labels", labels_file),
        *("--width", 4, "--small-images", "--output", tmp_path / "models"),
    )
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert "code ran" not in result.output
    assert not (tmp_path / "models").exists()


def test_labels_that_do_not_match_the_outputs_are_refused(
    run: Run, labels_file: Path, tmp_path: Path
) -> None:
    words = ("--labels", labels_file, "--output", tmp_path / "models")
    result = run("export", "cifar10-resnet", *words)
    assert result.exit_code == 1
    assert "has 10 classes and there are 5 labels" in result.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["resnet18", "--mean", "red"],
        ["resnet18", "--input-size", "1x2x3"],
        ["resnet18", "--metric", "top1"],
        ["resnet18", "--version", "0"],
    ],
)
def test_wrong_usage_is_status_two(run: Run, words: list[str]) -> None:
    assert run("export", *words).exit_code == 2


def test_the_public_checkpoint_of_googlenet_takes_pixels_from_minus_one_to_one(
    labels_file: Path, tmp_path: Path
) -> None:
    options = {"width": 4, "small_images": True}
    torch.save(build("googlenet", num_classes=5, **options).state_dict(), tmp_path / "public.pth")
    network = resolve(
        NetworkSource("googlenet", tmp_path / "public.pth", labels_file, options=options)
    )
    assert network.preprocessing is not None
    pixels = np.array([0.0, 127.5, 255.0])
    scaled = (pixels - network.preprocessing.mean) / network.preprocessing.std
    assert scaled.tolist() == [-1, 0, 1]


def test_a_checkpoint_without_labels_asks_for_them(weights: Path) -> None:
    with pytest.raises(LabelsError, match="--labels FILE"):
        resolve(NetworkSource("resnet18", weights, options={"width": 4, "small_images": True}))


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty"), (b"a\n\nb\n", "line 2"), (b"\xff", "UTF-8")]
)
def test_unusable_labels_files_are_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(LabelsError, match=says):
        read_labels(path)


def test_preprocessing_must_be_known_from_somewhere() -> None:
    with pytest.raises(PreprocessingError, match="give --input-size"):
        merge_preprocessing(None, {"mean": (1.0, 2.0, 3.0)})
    assert merge_preprocessing(None, {"height": 8, "width": 9}) == ImagePreprocessing(
        height=8, width=9
    )


def test_a_factory_may_be_a_class_or_a_function() -> None:
    assert isinstance(call_factory("torch.nn:Identity"), Network)
    with pytest.raises(FactoryError, match="failed with TypeError"):
        call_factory("torch.nn:Linear")


def test_an_unknown_recipe_is_refused(run: Run, tmp_path: Path) -> None:
    result = run("train", "cifar10-resnt", "--data", tmp_path)
    assert result.exit_code == 1
    assert "did you mean 'cifar10-resnet'" in result.stderr


def test_training_without_its_data_says_what_to_give(run: Run, tmp_path: Path) -> None:
    result = run("train", "cifar10-resnet", "--data", tmp_path, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "--data must name a folder with cifar10.parquet" in result.stderr
    assert not (tmp_path / "out").exists()
