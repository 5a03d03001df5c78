import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export.errors import DestinationError, ExportError, GraphError, LabelsError, ParityError
from export.exporter import ExportSpec, export_classifier
from service.manifest import Tolerance, check_files, read_manifest


def files_below(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


class Flat(nn.Module):
    """A linear classifier of 16x16 images, the base of networks that export wrongly."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(3 * 16 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


class RandomAnswers(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(x.shape[0], 5)


class DependsOnNeighbours(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0, keepdim=True))


class FrozenBatch(Flat):
    """Works for any batch in PyTorch, but its trace holds the number of images it was traced with."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(int(x.shape[0]), 3, 16, 16)[: len(x.tolist())])


class FixedBatch(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.reshape(2, -1)) if x.shape[0] == 2 else super().forward(x)


class NotANumber(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0 * 0


@pytest.fixture
def artifact(tiny_network: nn.Module, tiny_spec: ExportSpec, tmp_path: Path) -> Path:
    return export_classifier(tiny_network, tiny_spec, tmp_path / "models")


def test_an_artifact_is_whole_and_says_what_it_is(artifact: Path) -> None:
    manifest, _ = read_manifest(artifact)
    check_files(artifact, manifest)
    assert artifact.parts[-3:] == ("models", "tiny", "1")
    assert [path.name for path in files_below(artifact)] == [
        "golden.npz",
        "manifest.json",
        "model.onnx",
        "parity.json",
    ]
    assert manifest.inputs[0].axes == ("batch", 16, 16, 3)
    assert manifest.outputs[0].axes == ("batch", 5)
    assert manifest.architecture == "resnet18"
    assert manifest.provenance.source == "a test"
    assert manifest.provenance.exporter["torch"] == torch.__version__


def test_golden_outputs_are_reproduced_by_onnx_runtime_at_any_batch(artifact: Path) -> None:
    manifest, _ = read_manifest(artifact)
    session = onnxruntime.InferenceSession(artifact / "model.onnx")
    with np.load(artifact / "golden.npz") as golden:
        assert set(golden) == {manifest.inputs[0].name, manifest.outputs[0].name}
        images, expected = golden["images"], golden["scores"]
    assert (images.dtype, expected.dtype) == (np.uint8, np.float32)
    for size in (1, len(images)):
        (scores,) = session.run(["scores"], {"images": images[:size]})
        tolerance = manifest.tolerance
        np.testing.assert_allclose(scores, expected[:size], tolerance.rtol, tolerance.atol)
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)


def test_parity_is_reported_at_batch_one_and_more(artifact: Path) -> None:
    report = json.loads((artifact / "parity.json").read_text())
    by_batch = {result["batch_size"]: result for result in report["results"]}
    assert set(by_batch) == {1, 3, 8}
    for result in by_batch.values():
        assert result["max_absolute"] < 1e-5
        assert result["top1_agreement"] == 1
        assert result["rows"] == report["inputs"]["golden"] + report["inputs"]["random"]
    assert report["versions"]["onnxruntime"] == onnxruntime.__version__


def test_the_graph_has_no_leftovers_of_the_exporter(artifact: Path) -> None:
    graph = onnx.load(artifact / "model.onnx").graph
    operators = {node.op_type for node in graph.node}
    assert operators <= {
        *("Transpose", "Cast", "Sub", "Div", "Conv", "Relu", "Add", "ReduceMean", "Gemm", "Softmax")
    }


def test_the_callers_network_is_left_as_it_was(
    tiny_network: nn.Module, tiny_spec: ExportSpec, tmp_path: Path
) -> None:
    tiny_network.half().train()
    export_classifier(tiny_network, tiny_spec, tmp_path)
    assert tiny_network.training
    assert next(tiny_network.parameters()).dtype == torch.float16


@pytest.mark.parametrize(
    ("network", "error", "says"),
    [
        (RandomAnswers(), ParityError, "randomness"),
        (DependsOnNeighbours(), ParityError, "other images of the batch"),
        (FrozenBatch(), ExportError, ""),
        (FixedBatch(), ExportError, "batch axis is frozen"),
        (NotANumber(), ParityError, "NaN"),
        (nn.Sequential(Flat(), nn.Linear(5, 4)), LabelsError, "4 classes apart and there are 5"),
        (nn.Conv2d(3, 5, 3), GraphError, "logits of shape"),
        (nn.Conv2d(1, 5, 3), GraphError, "number of channels"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_wrong_network_is_refused_and_leaves_nothing_behind(
    network: nn.Module, error: type[ExportError], says: str, tiny_spec: ExportSpec, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        export_classifier(network, tiny_spec, tmp_path / "models")
    assert files_below(tmp_path) == []


def test_no_difference_is_allowed_beyond_the_tolerance(
    tiny_network: nn.Module, tiny_spec: ExportSpec, tmp_path: Path
) -> None:
    exact = replace(tiny_spec, tolerance=Tolerance(atol=0, rtol=0))
    with pytest.raises(ParityError, match="differ by"):
        export_classifier(tiny_network, exact, tmp_path / "models")
    assert files_below(tmp_path) == []


def test_an_existing_version_is_never_changed(
    artifact: Path, tiny_network: nn.Module, tiny_spec: ExportSpec, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in files_below(artifact)}
    with pytest.raises(DestinationError, match="a version never changes"):
        export_classifier(tiny_network, replace(tiny_spec, version=1), tmp_path / "models")
    assert {path: path.read_bytes() for path in files_below(artifact)} == before


def test_without_a_version_the_next_one_is_taken(
    artifact: Path, tiny_spec: ExportSpec, tmp_path: Path
) -> None:
    (artifact.parent / "7").mkdir()
    made = export_classifier(Flat(), tiny_spec, tmp_path / "models")
    assert made.name == "8"
    assert sorted(path.name for path in artifact.parent.iterdir()) == ["1", "7", "8"]


@pytest.mark.parametrize("name", ["", "Upper", "../outside", "a/b", "é"])
def test_a_name_that_is_no_name_is_refused(
    name: str, tiny_spec: ExportSpec, tmp_path: Path
) -> None:
    with pytest.raises(DestinationError, match="is no model name"):
        export_classifier(Flat(), replace(tiny_spec, name=name), tmp_path)


def test_golden_images_of_another_size_are_refused(tiny_spec: ExportSpec, tmp_path: Path) -> None:
    wrong = replace(tiny_spec, golden=np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(GraphError, match="golden images"):
        export_classifier(Flat(), wrong, tmp_path)
