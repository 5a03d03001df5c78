"""Small artifacts for tests of the server, written with onnx alone, without PyTorch."""

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.artifact.manifest import (
    Batching,
    ImagePreprocessing,
    Task,
    TensorSpec,
)
from tests.support.artifact_files import golden_rows, save_artifact


def classifier_graph(side: int, classes: int, *, slow: bool = False) -> onnx.ModelProto:
    """``softmax(pixels @ weights)`` on ``[batch, side, side, 1]``.

    A slow one first multiplies by a 1024x1024 matrix, 100 times for each level of the brightest
    first pixel of the batch: some milliseconds for each level, nothing for 0.
    """
    rng = np.random.default_rng(7)
    weights = rng.normal(0, 0.01, (side * side, classes)).astype(np.float32)
    constants = {"w": weights}
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["logits"]),
    ]
    logits = "logits"
    if slow:
        constants |= {
            "up": np.ones((side * side, 1024), np.float32),
            "square": (np.eye(1024) * 0.5 + 0.5 / 1024).astype(np.float32),
            "down": np.full((1024, classes), 1e-9, np.float32),
            "hundred": np.array(100, np.int64),
            "go": np.array(True),
            "first": np.array(0, np.int64),
        }
        nodes += [
            helper.make_node("MatMul", ["rows", "up"], ["h0"]),
            helper.make_node("Gather", ["rows", "first"], ["firsts"], axis=1),
            helper.make_node("ReduceMax", ["firsts"], ["brightest"], keepdims=0),
            helper.make_node("Cast", ["brightest"], ["level"], to=TensorProto.INT64),
            helper.make_node("Mul", ["level", "hundred"], ["trips"]),
            helper.make_node("Loop", ["trips", "go", "h0"], ["h"], body=_multiplication()),
            helper.make_node("MatMul", ["h", "down"], ["offset"]),
            helper.make_node("Add", ["logits", "offset"], ["slow_logits"]),
        ]
        logits = "slow_logits"
    nodes.append(helper.make_node("Softmax", [logits], ["scores"], axis=-1))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", side, side, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _multiplication() -> onnx.GraphProto:
    """The loop's body: ``h @ square``."""

    def value(name: str, kind: int, shape: list[int] | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    return helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("MatMul", ["h_in", "square"], ["h_out"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go_in", TensorProto.BOOL, []),
            value("h_in", TensorProto.FLOAT, None),
        ],
        [value("go_out", TensorProto.BOOL, []), value("h_out", TensorProto.FLOAT, None)],
    )


def write_artifact(
    repository: Path,
    name: str = "tiny",
    version: int = 1,
    *,
    side: int = 4,
    classes: int = 3,
    slow: bool = False,
    max_batch_size: int = 8,
    graph: onnx.ModelProto | None = None,
    golden: NDArray[np.float32] | None = None,
    first_pixel: int = 0,
) -> Path:
    """Write ``repository/name/version``; its golden outputs are ONNX Runtime's, or those given.

    A slow one takes as long to verify as the ``first_pixel`` of its golden images is bright.
    """
    graph = graph or classifier_graph(side, classes, slow=slow)
    images = np.random.default_rng(1).integers(0, 256, (3, side, side, 1), dtype=np.uint8)
    images[:, 0, 0] = first_pixel
    rows = {"images": images, "scores": golden}
    if golden is None:
        rows = golden_rows(graph, {"images": images}, ["scores"])
    return save_artifact(
        repository / name / str(version),
        graph,
        rows,
        task=Task.CLASSIFICATION,
        architecture="linear",
        inputs=(TensorSpec(name="images", dtype="uint8", axes=("batch", side, side, 1)),),
        outputs=(TensorSpec(name="scores", dtype="float32", axes=("batch", classes)),),
        preprocessing=ImagePreprocessing(height=side, width=side, channels=1),
        labels=tuple(f"class {index}" for index in range(classes)),
        batching=Batching(max_batch_size=max_batch_size),
    )


def edit_manifest(artifact: Path, **changes: object) -> None:
    """Overwrite fields of a manifest, valid or not."""
    path = artifact / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
