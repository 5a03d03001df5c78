"""A segmenter and a detector small enough to be understood, as artifacts, without PyTorch.

The segmenter calls a pixel `red` (class 1) where its red is over 127, as sure as it is red. The
detector sees a red and a blue thing at two places, as sure as the row's mean red and blue are high.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.artifact.manifest import (
    ImagePreprocessing,
    Task,
    TensorSpec,
)
from service.artifact.sections import DetectionSection, SegmentationSection
from tests.support.artifact_files import golden_rows, save_artifact

SIDE = 64
BOXES = np.array([[4, 8, 28, 24], [32, 16, 60, 56]], np.float32)  # px of the row


def write_segmenter(repository: Path) -> None:
    red = [
        helper.make_node("Gather", ["images", "first"], ["red"], axis=3),
        helper.make_node("Cast", ["red"], ["level"], to=TensorProto.INT32),
        helper.make_node("Sub", ["full", "level"], ["rest"]),
        helper.make_node("Greater", ["level", "half"], ["is_red"]),
        helper.make_node("Cast", ["is_red"], ["mask"], to=TensorProto.UINT8),
        helper.make_node("Max", ["level", "rest"], ["surer"]),
        helper.make_node("Cast", ["surer"], ["confidence"], to=TensorProto.UINT8),
        helper.make_node("Unsqueeze", ["rest", "one"], ["others"]),
        helper.make_node("Unsqueeze", ["level", "one"], ["reds"]),
        helper.make_node("Concat", ["others", "reds"], ["both"], axis=1),
        helper.make_node("Cast", ["both"], ["scores"], to=TensorProto.UINT8),
    ]
    constants = {
        "first": np.array(0, np.int64),
        "full": np.array(255, np.int32),
        "half": np.array(127, np.int32),
        "one": np.array([1], np.int64),
    }
    plane = ("batch", SIDE, SIDE)
    outputs = {"mask": plane, "confidence": plane, "scores": ("batch", 2, SIDE, SIDE)}
    _write(
        repository / "red" / "1",
        Task.SEGMENTATION,
        helper.make_graph(red, "segmenter", *_values(outputs, TensorProto.UINT8), _init(constants)),
        {name: ("uint8", axes) for name, axes in outputs.items()},
        segmentation=SegmentationSection(colours=((0, 0, 0), (255, 0, 0))),
    )


def write_detector(repository: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "plane"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "full"], ["shares"]),  # [batch, 3]
        helper.make_node("Gather", ["shares", "red_and_blue"], ["sure"], axis=1),
        helper.make_node("Unsqueeze", ["sure", "last"], ["column"]),
        helper.make_node("Mul", ["column", "eye"], ["scores"]),  # [batch, 2, 2]
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "places"], ["boxes"]),
    ]
    constants = {
        "plane": np.array([1, 2], np.int64),
        "full": np.array(255, np.float32),
        "red_and_blue": np.array([0, 2], np.int64),
        "last": np.array([2], np.int64),
        "eye": np.eye(2, dtype=np.float32),
        "zero": np.zeros(1, np.float32),
        "places": BOXES,
    }
    outputs = {"boxes": ("batch", 2, 4), "scores": ("batch", 2, 2)}
    _write(
        repository / "things" / "1",
        Task.DETECTION,
        helper.make_graph(
            nodes, "detector", *_values(outputs, TensorProto.FLOAT), _init(constants)
        ),
        {name: ("float32", axes) for name, axes in outputs.items()},
        detection=DetectionSection(score_threshold=0.3, iou_threshold=0.5),
    )


def _values(
    outputs: Mapping[str, tuple[str | int, ...]], kind: int
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    shape = ["batch", SIDE, SIDE, 3]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, shape)
    return [images], [helper.make_tensor_value_info(n, kind, list(a)) for n, a in outputs.items()]


def _init(constants: Mapping[str, NDArray]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(value, name) for name, value in constants.items()]


def _write(
    folder: Path,
    task: Task,
    graph: onnx.GraphProto,
    outputs: Mapping[str, tuple[Literal["uint8", "float32"], tuple[str | int, ...]]],
    **section: Any,
) -> None:
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    save_artifact(
        folder,
        model,
        golden_rows(model, {"images": images}, list(outputs)),
        task=task,
        architecture="rule",
        inputs=(TensorSpec(name="images", dtype="uint8", axes=("batch", SIDE, SIDE, 3)),),
        outputs=tuple(
            TensorSpec(
                name=name,
                dtype=dtype,
                axes=axes,
                on_request=name == "scores" and task is Task.SEGMENTATION,
            )
            for name, (dtype, axes) in outputs.items()
        ),
        preprocessing=ImagePreprocessing(height=SIDE, width=SIDE, channels=3, fit="letterbox"),
        labels=("other", "red") if task is Task.SEGMENTATION else ("red thing", "blue thing"),
        **section,
    )
