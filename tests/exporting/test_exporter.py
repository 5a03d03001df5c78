import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export.errors import DestinationError, ExportError, GraphError, LabelsError, ParityError
from service.artifact.manifest import Tolerance, check_files, read_manifest

ExportTiny = Callable[..., Path]


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
    """Works for any batch in PyTorch, but its trace holds the number of images it was made with."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(FrozenBatch, self).forward(image[None]) for image in x])


class ExportsDifferently(Flat):
    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits if torch.compiler.is_exporting() else logits * 1.01


class NeedsTwo(Flat):
    def forward(self, x: Tensor) -> Tensor:
        assert len(x) > 1, "more than one image"
        return super().forward(x)


class NotANumber(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0 * 0


@pytest.fixture(scope="module")
def artifact(
    tiny_network: nn.Module, export_tiny: ExportTiny, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return export_tiny(tiny_network, tmp_path_factory.mktemp("any") / "models")


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
        scores = np.asarray(session.run(["scores"], {"images": images[:size]})[0])
        tolerance = manifest.tolerance
        np.testing.assert_allclose(scores, expected[:size], tolerance.rtol, tolerance.atol)
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)


def test_parity_is_reported_at_batch_one_and_more(artifact: Path) -> None:
    report = json.loads((artifact / "parity.json").read_text())
    by_batch = {result["batch_size"]: result for result in report["results"]}
    assert set(by_batch) == {1, 3, 8}
    for result in by_batch.values():
        assert result["max_absolute"] < 1e-5
        assert result["agreement"] == 1
        assert result["rows"] == report["inputs"]["golden"] + report["inputs"]["random"]
    assert report["versions"]["onnxruntime"] == onnxruntime.__version__


def test_the_graph_has_no_leftovers_of_the_exporter(artifact: Path) -> None:
    graph = onnx.load(artifact / "model.onnx").graph
    operators = {node.op_type for node in graph.node}
    assert operators <= {
        *("Transpose", "Cast", "Mul", "Conv", "Relu", "Add", "ReduceMean", "Gemm", "Softmax")
    }


def test_the_network_of_the_caller_is_not_changed(export_tiny: ExportTiny, tmp_path: Path) -> None:
    network = Flat().half().train()
    export_tiny(network, tmp_path)
    assert network.training
    assert network.fc.weight.dtype == torch.float16


@pytest.mark.parametrize(
    ("network", "error", "says"),
    [
        (RandomAnswers(), ParityError, "randomness"),
        (DependsOnNeighbours(), ParityError, "other rows of the batch"),
        (ExportsDifferently(), ParityError, "ONNX Runtime and PyTorch differ by"),
        (FrozenBatch(), GraphError, "batch axis is fixed"),
        (NeedsTwo(), GraphError, "does not take \\[1, 16, 16, 3\\].*more than one image"),
        (NotANumber(), ParityError, "NaN"),
        (nn.Sequential(Flat(), nn.Linear(5, 4)), LabelsError, "has 4 classes and there are 5"),
        (nn.Conv2d(3, 5, 3), GraphError, "logits of shape"),
        (nn.Conv2d(1, 5, 3), GraphError, "check the input size, the channels"),
    ],
    ids=(
        "random",
        "depends on neighbours",
        "exports differently",
        "frozen batch",
        "needs two images",
        "not a number",
        "wrong number of classes",
        "wrong rank",
        "wrong channels",
    ),
)
def test_a_wrong_network_is_refused_and_leaves_nothing_behind(
    network: nn.Module, error: type[ExportError], says: str, export_tiny: ExportTiny, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        export_tiny(network, tmp_path / "models")
    assert files_below(tmp_path) == []


def test_no_difference_is_allowed_beyond_the_tolerance(
    export_tiny: ExportTiny, tmp_path: Path
) -> None:
    exact = Tolerance(atol=0, rtol=0)
    with pytest.raises(ParityError, match="differ by"):
        export_tiny(Flat(), tmp_path / "models", tolerance=exact)
    assert files_below(tmp_path) == []


def test_an_existing_version_is_never_changed(artifact: Path, export_tiny: ExportTiny) -> None:
    before = {path: path.read_bytes() for path in files_below(artifact)}
    with pytest.raises(DestinationError, match="a version never changes"):
        export_tiny(Flat(), artifact.parents[1], version=1)
    assert {path: path.read_bytes() for path in files_below(artifact)} == before


def test_without_a_version_the_next_one_is_taken(export_tiny: ExportTiny, tmp_path: Path) -> None:
    (tmp_path / "tiny" / "7").mkdir(parents=True)
    made = export_tiny(Flat(), tmp_path)
    assert made.name == "8"
    assert sorted(path.name for path in made.parent.iterdir()) == ["7", "8"]


def test_versions_that_were_there_survive_a_refused_export(
    export_tiny: ExportTiny, tmp_path: Path
) -> None:
    kept = tmp_path / "tiny" / "1"
    kept.mkdir(parents=True)
    with pytest.raises(ParityError):
        export_tiny(RandomAnswers(), tmp_path)
    assert files_below(tmp_path) == [kept.parent, kept]


@pytest.mark.parametrize("name", ["", "Upper", "../outside", "a/b", "é"])
def test_an_invalid_name_is_refused(name: str, export_tiny: ExportTiny, tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="is no model name"):
        export_tiny(Flat(), tmp_path, name=name)


def test_a_network_with_control_flow_on_values_is_refused_in_one_line(
    export_tiny: ExportTiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Branches(Flat):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x[0, 0, 0, 0] > 0 else super().forward(-x)

    with pytest.raises(GraphError, match=r"cannot be exported: .*control flow") as refusal:
        export_tiny(Branches(), tmp_path)
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")
    assert files_below(tmp_path) == []


def test_a_spec_that_no_manifest_can_hold_is_refused(
    export_tiny: ExportTiny, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="max_batch_size"):
        export_tiny(Flat(), tmp_path, max_batch_size=0)
    assert files_below(tmp_path) == []


def test_golden_images_of_another_size_are_refused(export_tiny: ExportTiny, tmp_path: Path) -> None:
    wrong = ({"images": np.zeros((1, 8, 8, 3), np.uint8)},)
    with pytest.raises(GraphError, match="golden_images"):
        export_tiny(Flat(), tmp_path, golden=wrong)
