"""Small artifacts that fit no head: asked with tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from service.artifact.manifest import (
    Batching,
    Bucket,
    Task,
    TensorSpec,
)
from tests.support.artifact_files import golden_rows, save_artifact
from tests.support.foreign_graphs import floats, model, node

TIMES = (2, 5)


def pair_graph() -> onnx.ModelProto:
    """``a [N, time]`` float32 and ``b [N, time]`` int64 -> their sum, and their product."""
    axes = ["batch", "time"]
    return model(
        [
            node("Cast", ["b"], ["floats"], to=TensorProto.FLOAT),
            node("Add", ["a", "floats"], ["sum"]),
            node("Mul", ["a", "floats"], ["product"]),
        ],
        [floats("a", axes), floats("b", axes, TensorProto.INT64)],
        [floats("sum", axes), floats("product", axes)],
    )


def half_graph() -> onnx.ModelProto:
    """``x [N, 4]`` float16 -> twice that, and as int32."""
    return model(
        [
            node("Add", ["x", "x"], ["twice"]),
            node("Cast", ["twice"], ["whole"], to=TensorProto.INT32),
        ],
        [floats("x", ["batch", 4], TensorProto.FLOAT16)],
        [
            floats("twice", ["batch", 4], TensorProto.FLOAT16),
            floats("whole", ["batch", 4], TensorProto.INT32),
        ],
    )


def write_pair(repository: Path) -> Path:
    """``pair``: two sizes of one axis, and an output on request."""
    axes = ("batch", "time")
    inputs = (
        TensorSpec(name="a", dtype="float32", axes=axes),
        TensorSpec(name="b", dtype="int64", axes=axes),
    )
    outputs = (
        TensorSpec(name="sum", dtype="float32", axes=axes),
        TensorSpec(name="product", dtype="float32", axes=axes, on_request=True),
    )
    parts = [
        (
            {"time": time},
            {
                "a": np.arange(3 * time, dtype=np.float32).reshape(3, time),
                "b": np.arange(3 * time).reshape(3, time),
            },
        )
        for time in TIMES
    ]
    return _write(repository, "pair", pair_graph(), inputs, outputs, parts)


def write_half(repository: Path) -> Path:
    """``half``: float16 in, float16 and int32 out."""
    return _write(
        repository,
        "half",
        half_graph(),
        (TensorSpec(name="x", dtype="float16", axes=("batch", 4)),),
        (
            TensorSpec(name="twice", dtype="float16", axes=("batch", 4)),
            TensorSpec(name="whole", dtype="int32", axes=("batch", 4)),
        ),
        [({}, {"x": np.arange(8, dtype=np.float16).reshape(2, 4)})],
    )


def write_wide(repository: Path) -> Path:
    """``wide``: one number in, 20,000 out."""
    graph = model(
        [node("MatMul", ["x", "w"], ["y"])],
        [floats("x", ["batch", 1])],
        [floats("y", ["batch", 20_000])],
        {"w": np.ones((1, 20_000), np.float32)},
    )
    return _write(
        repository,
        "wide",
        graph,
        (TensorSpec(name="x", dtype="float32", axes=("batch", 1)),),
        (TensorSpec(name="y", dtype="float32", axes=("batch", 20_000)),),
        [({}, {"x": np.ones((1, 1), np.float32)})],
    )


def write_lookup(repository: Path) -> Path:
    """``lookup``: the number at each index of 0, 100, ... 900; an index beyond them fails."""
    graph = model(
        [node("Gather", ["table", "i"], ["y"], axis=0)],
        [floats("i", ["batch", 1], TensorProto.INT64)],
        [floats("y", ["batch", 1])],
        {"table": np.arange(10, dtype=np.float32) * 100},
    )
    return _write(
        repository,
        "lookup",
        graph,
        (TensorSpec(name="i", dtype="int64", axes=("batch", 1)),),
        (TensorSpec(name="y", dtype="float32", axes=("batch", 1)),),
        [({}, {"i": np.arange(2).reshape(2, 1)})],
    )


def _write(
    repository: Path,
    name: str,
    graph: onnx.ModelProto,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    parts: Sequence[tuple[Bucket, dict[str, NDArray[Any]]]],
) -> Path:
    golden: dict[str, Any] = {}
    for bucket, rows in parts:
        golden |= golden_rows(graph, rows, [spec.name for spec in outputs], bucket)
    return save_artifact(
        repository / name / "1",
        graph,
        golden,
        task=Task.TENSORS,
        architecture="arithmetic",
        inputs=inputs,
        outputs=outputs,
        batching=Batching(max_batch_size=4),
        buckets=tuple(dict(bucket) for bucket, _ in parts if bucket),
        opset_version=17,
    )
