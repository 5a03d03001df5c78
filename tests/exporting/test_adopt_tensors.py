"""``sightline adopt --task tensors``: a graph that fits no head becomes an artifact, too."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from typer.testing import Result

from service.artifact.manifest import Task, read_manifest
from service.devices import Device
from service.supervisor.servable import check_servable
from service.worker.golden import replay_golden
from service.worker.session import ModelSession, SessionOptions
from tests.exporting.test_adopt_refusals import refused
from tests.support.adopting import adopt, invoke
from tests.support.foreign_graphs import floats, model, node, torch_classifier
from tests.support.tensor_artifacts import pair_graph


def rows(count: int = 3, time: int = 2) -> dict[str, NDArray[Any]]:
    numbers = np.arange(count * time).reshape(count, time)
    return {"a": numbers.astype(np.float32) / 4, "b": numbers}


def adopt_tensors(
    folder: Path,
    graph: onnx.ModelProto,
    *flags: str,
    examples: tuple[dict[str, NDArray[Any]], ...] | None = None,
) -> Result:
    path = folder / "graph.onnx"
    path.write_bytes(graph.SerializeToString())
    words = [str(path), "--task", "tensors", "--name", "any", "--output", str(folder / "models")]
    for number, arrays in enumerate((rows(),) if examples is None else examples):
        example = folder / f"{number}.npz"
        np.savez(example, allow_pickle=False, **arrays)
        words += ["--example", str(example)]
    return invoke(*words, *flags)


def one_input(nodes: list[onnx.NodeProto], output: onnx.ValueInfoProto, **options: Any) -> Any:
    return model(nodes, [floats("x", ["batch", 4])], [output], **options)


X = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}


def test_inputs_and_outputs_are_those_of_the_graph(tmp_path: Path) -> None:
    result = adopt_tensors(tmp_path, pair_graph())
    assert result.exit_code == 0, result.output
    assert "sum: 0, 1.25" in result.output
    artifact = tmp_path / "models" / "any" / "1"
    manifest, _ = read_manifest(artifact)
    check_servable(manifest)
    assert manifest.task is Task.TENSORS
    assert [(each.name, each.dtype, each.axes) for each in manifest.inputs] == [
        ("a", "float32", ("batch", 2)),
        ("b", "int64", ("batch", 2)),
    ]
    assert [each.name for each in manifest.outputs] == ["sum", "product"]
    with np.load(artifact / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["sum"], rows()["a"] + rows()["b"])


def test_each_shape_of_the_examples_becomes_a_bucket(tmp_path: Path) -> None:
    examples = (rows(time=2), rows(time=5), rows(1, time=2))
    result = adopt_tensors(tmp_path, pair_graph(), examples=examples)
    assert result.exit_code == 0, result.output
    artifact = tmp_path / "models" / "any" / "1"
    manifest, _ = read_manifest(artifact)
    assert manifest.buckets == ({"time": 2}, {"time": 5})
    assert manifest.outputs[0].axes == ("batch", "time")
    session = ModelSession(artifact, manifest, SessionOptions(Device("cpu", 0)))
    assert replay_golden(session, artifact).rows == 4 + 3


def test_axes_without_a_name_get_one(tmp_path: Path) -> None:
    graph = model(
        [node("Concat", ["x", "x"], ["y"], axis=1)],
        [floats("x", ["batch", None])],
        [floats("y", ["batch", None])],
    )
    examples = tuple({"x": np.ones((2, size), np.float32)} for size in (2, 3))
    assert adopt_tensors(tmp_path, graph, examples=examples).exit_code == 0
    manifest, _ = read_manifest(tmp_path / "models" / "any" / "1")
    assert manifest.buckets == ({"x_1": 2, "y_1": 4}, {"x_1": 3, "y_1": 6})


def test_an_input_may_be_frozen(tmp_path: Path) -> None:
    graph = model(
        [node("Mul", ["x", "factor"], ["y"])],
        [floats("x", ["batch", 4]), floats("factor", [1])],
        [floats("y", ["batch", 4])],
    )
    assert adopt_tensors(tmp_path, graph, "--freeze", "factor=3", examples=(X,)).exit_code == 0
    with np.load(tmp_path / "models" / "any" / "1" / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["y"], 3 * X["x"])


def test_a_batch_of_one_is_served_one_by_one(tmp_path: Path) -> None:
    graph = model([node("Relu", ["x"], ["y"])], [floats("x", [1, 4])], [floats("y", [1, 4])])
    assert adopt_tensors(tmp_path, graph, examples=(X,)).exit_code == 0
    manifest, _ = read_manifest(tmp_path / "models" / "any" / "1")
    assert manifest.batching.max_batch_size == 1


RELU = one_input([node("Relu", ["x"], ["y"])], floats("y", ["batch", 4]))


def test_without_an_example_it_says_what_to_give(tmp_path: Path) -> None:
    reason = refused(adopt_tensors(tmp_path, RELU, examples=()), tmp_path)
    assert "numpy.savez: one array [N, ...] for each input, by name" in reason


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ({"z": X["x"]}, "has the arrays ['z']; the graph takes ['x']"),
        ({"x": X["x"].astype(np.float64)}, "save it with .astype('float32')"),
        ({"x": X["x"][:, :3]}, "'x' is [2, 3]"),
        ({"x": X["x"][0]}, "'x' is [4]"),
        ({"x": X["x"][:0]}, "at least one"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(
    tmp_path: Path, example: dict[str, NDArray[Any]], reason: str
) -> None:
    assert reason in refused(adopt_tensors(tmp_path, RELU, examples=(example,)), tmp_path)


def test_an_example_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("no archive")
    result = adopt_tensors(tmp_path, RELU, "--example", str(tmp_path / "x.npz"), examples=())
    assert "no file of numpy.savez" in refused(result, tmp_path)
    np.save(tmp_path / "x.npy", X["x"])
    result = adopt_tensors(tmp_path, RELU, "--example", str(tmp_path / "x.npy"), examples=())
    assert "no file of numpy.savez" in refused(result, tmp_path)


BOOLEAN = one_input(
    [node("Greater", ["x", "zero"], ["y"])],
    floats("y", ["batch", 4], TensorProto.BOOL),
    weights={"zero": np.zeros(1, np.float32)},
)
SUMMED = one_input([node("ReduceSum", ["x"], ["y"], keepdims=0)], floats("y", []))
FOUND = one_input(
    [
        node("NonZero", ["x"], ["places"]),
        node("Cast", ["places"], ["floats"], to=TensorProto.FLOAT),
        node("ReduceMax", ["floats"], ["top"], axes=[0], keepdims=1),
        node("Identity", ["top"], ["y"]),
    ],
    floats("y", [1, None]),
)
PAIRED = model([node("Relu", ["x"], ["y"])], [floats("x", [2, 4])], [floats("y", [2, 4])])
SHARED = one_input(
    [node("ReduceMean", ["x"], ["mean"], axes=[0]), node("Sub", ["x", "mean"], ["y"])],
    floats("y", ["batch", 4]),
)


@pytest.mark.parametrize(
    ("graph", "flags", "reason"),
    [
        (BOOLEAN, (), "put a Cast into the graph"),
        (SUMMED, (), "its first axis is not the batch"),
        (FOUND, (), "for inputs of one shape; pad it"),
        (PAIRED, (), "must be the batch, free or 1"),
        (SHARED, (), "in a batch of 3 than alone"),
        (RELU, ("--head", "logits"), "--head is not for --task tensors"),
        (RELU, ("--size", "32"), "--size is not for --task tensors"),
        (RELU, ("--freeze", "x=1,2,3,4"), "every input is frozen"),
        (RELU, ("--freeze", "z=1"), "the graph has only x"),
        (RELU, ("--save", "answer.png"), "not drawn"),
    ],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, graph: onnx.ModelProto, flags: tuple[str, ...], reason: str
) -> None:
    assert reason in refused(adopt_tensors(tmp_path, graph, *flags, examples=(X,)), tmp_path)


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_the_error_for_an_unknown_head_names_the_task_tensors(tmp_path: Path, task: str) -> None:
    graph = torch_classifier()
    if task == "classification":
        graph = model(
            [node("Relu", ["x"], ["output"])],
            [floats("x", ["batch", 3, 8, 8])],
            [floats("output", ["batch", 3, 8, 8])],
        )
    assert "--task tensors" in refused(adopt(tmp_path, graph, task=task), tmp_path)
