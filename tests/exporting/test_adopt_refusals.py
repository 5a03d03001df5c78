"""What is refused at adoption, each with its reason, and that nothing is left behind."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from typer.testing import Result

from service.artifact.manifest import check_files, read_manifest
from tests.support.adopting import LABELS, adopt, invoke
from tests.support.foreign_graphs import floats, model, node, torch_classifier


def refused(result: Result, folder: Path) -> str:
    """The reason, in one line, after a look at what is left."""
    assert result.exit_code == 1, result.output
    assert not (folder / "models").exists()
    sentence = " ".join(result.output.split())
    assert sentence.startswith("sightline: ")
    assert len(sentence) < 500
    return sentence


def with_node(*nodes: onnx.NodeProto, **options: Any) -> onnx.ModelProto:
    """A classifier with other nodes behind it, from ``means`` to ``output``."""
    return model(
        [
            node("GlobalAveragePool", ["x"], ["pooled"]),
            node("Flatten", ["pooled"], ["means"]),
            *nodes,
        ],
        [floats("x", ["batch", 3, 8, 8])],
        [floats("output", ["batch", 3])],
        **options,
    )


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "empty (0 bytes)" in refused(adopt(tmp_path, b""), tmp_path)


@pytest.mark.parametrize("content", [b"\x89PNG and more", b"hello", bytes(100), b"\x0a\x03abc"])
def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "is no ONNX" in refused(adopt(tmp_path, content), tmp_path)


def test_a_file_of_three_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    example = tmp_path / "huge.onnx"
    with example.open("wb") as file:
        file.truncate(3 << 30)  # sparse: takes no room
    words = [str(example), "--task", "classification", "--name", "huge", "--example", "x.png"]
    reason = refused(invoke(*words, "--output", str(tmp_path / "models")), tmp_path)
    assert "3.0 GiB" in reason
    assert "beside the graph" in reason


def test_an_operator_that_onnx_runtime_lacks_is_named(tmp_path: Path) -> None:
    graph = with_node(
        node("Magic", ["means"], ["output"], domain="com.example"), domains={"com.example": 1}
    )
    assert "no operator com.example:Magic" in refused(adopt(tmp_path, graph), tmp_path)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    graph = with_node(node("Softmux", ["means"], ["output"]))
    assert "no operator Softmux" in refused(adopt(tmp_path, graph), tmp_path)


def test_an_opset_that_is_too_old_is_refused(tmp_path: Path) -> None:
    assert "opset 6" in refused(adopt(tmp_path, torch_classifier(6)), tmp_path)


def test_an_opset_of_the_future_is_refused(tmp_path: Path) -> None:
    assert "opset" in refused(adopt(tmp_path, torch_classifier(99)), tmp_path)


@pytest.mark.parametrize("labels", [LABELS[:2], (*LABELS, "more")])
def test_a_wrong_number_of_labels_is_refused(tmp_path: Path, labels: tuple[str, ...]) -> None:
    reason = refused(adopt(tmp_path, torch_classifier(), labels=labels), tmp_path)
    assert f"(output float32[1, 3]) has 3 classes and there are {len(labels)}" in reason


def test_missing_labels_are_asked_for(tmp_path: Path) -> None:
    assert "--labels" in refused(adopt(tmp_path, torch_classifier(), labels=None), tmp_path)


def test_a_batch_axis_that_only_seems_free_is_refused(tmp_path: Path) -> None:
    graph = with_node(
        node("Reshape", ["means", "one"], ["output"]), weights={"one": np.array([1, 3])}
    )
    assert "--max-batch-size 1" in refused(adopt(tmp_path, graph), tmp_path)


def test_a_fixed_batch_axis_is_served_one_by_one_if_the_owner_says_so(tmp_path: Path) -> None:
    graph = with_node(
        node("Reshape", ["means", "one"], ["output"]), weights={"one": np.array([1, 3])}
    )
    assert adopt(tmp_path, graph, "--max-batch-size", "1").exit_code == 0


def test_a_graph_whose_rows_see_each_other_is_refused(tmp_path: Path) -> None:
    graph = with_node(
        node("ReduceMean", ["means"], ["mean"], axes=[0]),
        node("Sub", ["means", "mean"], ["output"]),
    )
    assert "in a batch of 3 than alone" in refused(adopt(tmp_path, graph), tmp_path)


def test_a_graph_with_randomness_in_it_is_refused(tmp_path: Path) -> None:
    graph = with_node(
        node("RandomNormalLike", ["means"], ["noise"]), node("Add", ["means", "noise"], ["output"])
    )
    assert "randomness" in refused(adopt(tmp_path, graph), tmp_path)


def test_nan_is_refused(tmp_path: Path) -> None:
    graph = with_node(node("Neg", ["means"], ["less"]), node("Sqrt", ["less"], ["output"]))
    assert "NaN" in refused(adopt(tmp_path, graph, "--scale", "0-1"), tmp_path)


def test_free_sides_that_are_not_free_are_refused(tmp_path: Path) -> None:
    graph = model(
        [node("Flatten", ["x"], ["flat"]), node("MatMul", ["flat", "w"], ["output"])],
        [floats("x", ["batch", 3, "height", "width"])],
        [floats("output", ["batch", 3])],
        {"w": np.zeros((192, 3), np.float32)},
    )
    reason = refused(adopt(tmp_path, graph, "--size", "16"), tmp_path)
    assert "at 16x16 px" in reason
    assert "--size" in reason


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--head", "yolov8"), "classification head 'yolov8' is unknown"),
        (("--size", "16"), "does not fit the input"),
        (("--layout", "chw"), "has 3 axes"),
        (("--colours", "grey"), "does not fit the 3 channels"),
        (("--mean", "1,2"), "mean has 2 values"),
        (("--scale", "0-1", "--std", "1,1,1"), "not both"),
        (("--freeze", "sr=1"), "the graph has only input"),
        (("--name", "Not A Name"), "no model name"),
        (("--size", "0"), "is not 1 to 8192 px"),
        (("--save", "answer.nothing"), "is not an image file"),
        (("--save", "nowhere/answer.png"), "is not an image file"),
    ],
)
def test_flags_that_contradict_the_graph_are_refused(
    tmp_path: Path, flags: tuple[str, ...], reason: str
) -> None:
    assert reason in refused(adopt(tmp_path, torch_classifier(), *flags), tmp_path)


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    graph = model(
        [node("Relu", ["x"], ["output"])],
        [floats("x", ["batch", 3, 8, 8])],
        [floats("output", ["batch", 3, 8, 8])],
    )
    assert "another --task" in refused(adopt(tmp_path, graph), tmp_path)


# -- weights beside the graph


def external_classifier(location: str = "w.bin", offset: int = 0) -> onnx.ModelProto:
    """``means @ w``, whose weights lie in another file."""
    graph = with_node(
        node("MatMul", ["means", "w"], ["output"]), weights={"w": np.eye(3, dtype=np.float32)}
    )
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", "36")):
        tensor.external_data.add(key=key, value=value)
    return graph


def test_weights_beside_the_graph_come_along_and_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    weights = np.arange(9, dtype=np.float32)
    (tmp_path / "deep" / "w.bin").write_bytes(bytes(64) + weights.tobytes())
    result = adopt(tmp_path, external_classifier("deep/w.bin", 64), "--scale", "0-1")
    assert result.exit_code == 0, result.output
    artifact = tmp_path / "models" / "adopted" / "1"
    manifest, _ = read_manifest(artifact)
    check_files(artifact, manifest)
    assert set(manifest.files) >= {"model.onnx", "model.onnx.data"}
    session = onnxruntime.InferenceSession(artifact / "model.onnx")
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    scores = np.asarray(session.run(None, {"images": white})[0])
    logits = weights.reshape(3, 3).sum(axis=0)
    np.testing.assert_allclose(scores[0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)


def test_several_files_of_weights_become_one(tmp_path: Path) -> None:
    graph = external_classifier("a.bin")
    second = helper.make_tensor("b", TensorProto.FLOAT, [3], [0.0] * 3)
    second.ClearField("float_data")
    second.data_location = TensorProto.EXTERNAL
    second.external_data.add(key="location", value="b.bin")
    graph.graph.initializer.append(second)
    graph.graph.node[-1].output[0] = "product"
    graph.graph.node.append(node("Add", ["product", "b"], ["output"]))
    (tmp_path / "a.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    (tmp_path / "b.bin").write_bytes(np.array([0, 0, 7], np.float32).tobytes())
    result = adopt(tmp_path, graph, "--scale", "0-1")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "models" / "adopted" / "1" / "golden.npz") as golden:
        assert (golden["scores"].argmax(axis=1) == 2).all()


@pytest.mark.parametrize(
    "location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "..\\w.bin", "", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_outside_the_folder_of_the_graph_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(36))
    reason = refused(adopt(folder, external_classifier(location)), folder)
    assert "outside its own folder" in reason or "no such file" in reason


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(36))
    (folder / "w.bin").symlink_to(tmp_path / "secret")
    assert "a link to" in refused(adopt(folder, external_classifier()), folder)


def test_a_download_cache_of_links_is_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "1").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    (snapshot / "w.bin").symlink_to(os.path.relpath(blobs / "1", snapshot))
    (blobs / "2").touch()
    (snapshot / "adopted.onnx").symlink_to(os.path.relpath(blobs / "2", snapshot))
    result = adopt(snapshot, external_classifier())
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("offset", [1, -4, 10**12])
def test_weights_beyond_the_end_of_their_file_are_refused(tmp_path: Path, offset: int) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(36))
    reason = refused(adopt(tmp_path, external_classifier(offset=offset)), tmp_path)
    assert "should lie at bytes" in reason


def test_missing_weights_are_named(tmp_path: Path) -> None:
    assert "'w.bin'" in refused(adopt(tmp_path, external_classifier()), tmp_path)
