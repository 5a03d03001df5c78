"""Segmenters and detectors whose answers one can tell by looking, written with onnx alone.

A segmenter calls a pixel by its red (class ``red // 64``), is as sure as the pixel is green, and
scores class c with ``255 - |red - (64 c + 32)|``. A detector sees one thing, the pixels whose red
is over 127, more than once, and the room around it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.artifact.manifest import (
    FIXED,
    ImagePreprocessing,
    Task,
    TensorSpec,
)
from service.artifact.sections import DetectionSection, SegmentationSection
from tests.support.artifact_files import golden_rows, save_artifact

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
REGIONS = ("dark", "dim", "bright", "glaring")
"""The segmenter's classes."""
BUCKETS = ((24, 32), (32, 24), (48, 64), (64, 48))
"""Height and width of its rows."""
THING, ROOM = 0, 1
"""The detector's classes."""
ROW_HEIGHT, ROW_WIDTH = 48, 64
"""The detector's row."""
CANDIDATES = np.array([[0.9, 0.0], [0.8, 0.0], [0.0, 0.5], [0.1, 0.6]], np.float32)
"""``[K, num_classes]``: the thing, the thing 1 px to the right, the thing taken for a room, the
whole row."""
MAX_PROPOSALS = 8


def class_of(red: NDArray[Any]) -> NDArray[np.uint8]:
    """What the segmenter calls pixels of these reds."""
    return (red // 64).astype(np.uint8)


def score_of(red: NDArray[Any], index: int) -> NDArray[np.int64]:
    """How the segmenter scores a class, 0..255."""
    return 255 - np.abs(red.astype(np.int64) - (64 * index + 32))


def write_segmenter(
    repository: Path,
    name: str = "levels",
    *,
    fit: Literal["pad", "stretch"] = "pad",
    buckets: Sequence[tuple[int, int]] = BUCKETS,
    has_scores: bool = True,
) -> None:
    """A segmenter of ``buckets``; without ``has_scores`` it has no output on request."""
    nodes = [
        helper.make_node("Gather", ["images", "zero"], ["red"], axis=3),
        helper.make_node("Cast", ["red"], ["level"], to=TensorProto.INT32),
        helper.make_node("Div", ["level", "step"], ["class"]),
        helper.make_node("Cast", ["class"], ["mask"], to=TensorProto.UINT8),
        helper.make_node("Gather", ["images", "first"], ["confidence"], axis=3),
        helper.make_node("Unsqueeze", ["level", "first_axis"], ["levels"]),
        helper.make_node("Sub", ["levels", "middles"], ["offs"]),
        helper.make_node("Abs", ["offs"], ["distances"]),
        helper.make_node("Sub", ["full", "distances"], ["rest"]),
        helper.make_node("Cast", ["rest"], ["scores"], to=TensorProto.UINT8),
    ]
    constants = {
        "zero": np.array(0, np.int64),
        "first": np.array(1, np.int64),
        "first_axis": np.array([1], np.int64),
        "step": np.array(64, np.int32),
        "full": np.array(255, np.int32),
        "middles": np.arange(32, 256, 64, dtype=np.int32)[:, None, None],
    }
    plane = ("batch", "height", "width")
    outputs: dict[str, tuple[str | int, ...]] = {"mask": plane, "confidence": plane}
    if has_scores:
        outputs["scores"] = ("batch", len(REGIONS), *plane[1:])
    else:
        nodes, constants = nodes[:5], {k: constants[k] for k in ("zero", "first", "step")}
    specs = [
        TensorSpec(name=each, dtype="uint8", axes=axes, on_request=each == "scores")
        for each, axes in outputs.items()
    ]
    height, width = buckets[-1]
    _write(
        repository / name / "1",
        nodes,
        constants,
        (TensorSpec(name="images", dtype="uint8", axes=(*plane, 3)),),
        specs,
        task=Task.SEGMENTATION,
        preprocessing=ImagePreprocessing(height=height, width=width, fit=fit),
        labels=REGIONS,
        buckets=tuple({"height": h, "width": w} for h, w in buckets),
        segmentation=SegmentationSection(colours=COLOURS),
    )


def write_detector(
    repository: Path, name: str = "bright", *, fit: Literal["letterbox", "crop"] = "letterbox"
) -> None:
    """A detector with the candidates `CANDIDATES`; nothing but the room where all is dark."""
    nodes = [
        helper.make_node("Gather", ["images", "zero"], ["red"], axis=3),
        helper.make_node("Greater", ["red", "half"], ["is_bright"]),
        helper.make_node("Cast", ["is_bright"], ["bright"], to=TensorProto.FLOAT),  # [N, H, W]
        helper.make_node("ReduceMax", ["bright", "down"], ["columns"], keepdims=0),
        helper.make_node("ReduceMax", ["bright", "across"], ["rows"], keepdims=0),
        *_extent("columns", "x"),
        *_extent("rows", "y"),
        helper.make_node("Concat", ["x_from", "y_from", "x_to", "y_to"], ["thing"], axis=1),
        helper.make_node("Unsqueeze", ["thing", "first_axis"], ["things"]),  # [N, 1, 4]
        helper.make_node("Mul", ["things", "is_thing"], ["its"]),
        helper.make_node("Add", ["its", "shifts"], ["boxes"]),  # [N, 4, 4]
        helper.make_node("Mul", ["boxes", "nothing"], ["nil"]),
        helper.make_node("ReduceSum", ["nil", "last"], ["nils"], keepdims=1),
        helper.make_node("Add", ["nils", "sure"], ["scores"]),
    ]
    row = [0.0, 0.0, ROW_WIDTH, ROW_HEIGHT]
    constants = {
        "zero": np.array(0, np.int64),
        "half": np.array(127, np.uint8),
        "down": np.array([1], np.int64),
        "across": np.array([2], np.int64),
        "last": np.array([2], np.int64),
        "first_axis": np.array([1], np.int64),
        "is_thing": np.array([1, 1, 1, 0], np.float32)[:, None],
        "shifts": np.array([[0] * 4, [1, 0, 1, 0], [0] * 4, row], np.float32),
        "nothing": np.array(0, np.float32),
        "sure": CANDIDATES,
    }
    for axis, size in (("x", ROW_WIDTH), ("y", ROW_HEIGHT)):
        constants |= {
            f"{axis}_first": np.arange(size, dtype=np.float32) - size,
            f"{axis}_last": np.arange(1, size + 1, dtype=np.float32),
            f"{axis}_size": np.array(size, np.float32),
        }
    _write(
        repository / name / "1",
        nodes,
        constants,
        (_IMAGES,),
        _boxes_and_scores(len(CANDIDATES)),
        task=Task.DETECTION,
        preprocessing=ImagePreprocessing(height=ROW_HEIGHT, width=ROW_WIDTH, fit=fit),
        labels=("thing", "room"),
        detection=DetectionSection(score_threshold=0.3, iou_threshold=0.5),
    )


def _extent(flags: str, axis: str) -> list[onnx.NodeProto]:
    """From where to where flags ``[N, size]`` are set: ``axis_from``, ``axis_to``, ``[N, 1]``."""
    return [
        # Least index: indices less the size are negative, unset ones 0.
        helper.make_node("Mul", [flags, f"{axis}_first"], [f"{axis}_a"]),
        helper.make_node("ReduceMin", [f"{axis}_a", "first_axis"], [f"{axis}_b"], keepdims=1),
        helper.make_node("Add", [f"{axis}_b", f"{axis}_size"], [f"{axis}_from"]),
        helper.make_node("Mul", [flags, f"{axis}_last"], [f"{axis}_c"]),
        helper.make_node("ReduceMax", [f"{axis}_c", "first_axis"], [f"{axis}_to"], keepdims=1),
    ]


def write_region_detector(repository: Path, name: str = "regions") -> None:
    """Answers with its proposals as boxes; each is a thing as surely as it is wide in the row."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats", "pixels"], ["brightest"], keepdims=0),
        helper.make_node("Mul", ["brightest", "nothing"], ["nil"]),
        helper.make_node("Unsqueeze", ["nil", "last_axes"], ["nils"]),  # [N, 1, 1]
        helper.make_node("Add", ["proposals", "nils"], ["boxes"]),
        helper.make_node("Gather", ["boxes", "two"], ["right"], axis=2),
        helper.make_node("Gather", ["boxes", "zero"], ["left"], axis=2),
        helper.make_node("Sub", ["right", "left"], ["width"]),
        helper.make_node("Div", ["width", "row_width"], ["share"]),
        helper.make_node("Unsqueeze", ["share", "last"], ["column"]),
        helper.make_node("Mul", ["column", "is_thing"], ["scores"]),
    ]
    constants = {
        "pixels": np.array([1, 2, 3], np.int64),
        "last_axes": np.array([1, 2], np.int64),
        "nothing": np.zeros(1, np.float32),
        "zero": np.array(0, np.int64),
        "two": np.array(2, np.int64),
        "last": np.array([2], np.int64),
        "row_width": np.array(ROW_WIDTH, np.float32),
        "is_thing": np.array([1, 0], np.float32),
    }
    proposals = TensorSpec(name="proposals", dtype="float32", axes=("batch", MAX_PROPOSALS, 4))
    _write(
        repository / name / "1",
        nodes,
        constants,
        (_IMAGES, proposals),
        _boxes_and_scores(MAX_PROPOSALS),
        task=Task.DETECTION,
        preprocessing=ImagePreprocessing(height=ROW_HEIGHT, width=ROW_WIDTH, fit="letterbox"),
        labels=("thing", "room"),
        detection=DetectionSection(score_threshold=0.01, max_proposals=MAX_PROPOSALS),
    )


_IMAGES = TensorSpec(name="images", dtype="uint8", axes=("batch", ROW_HEIGHT, ROW_WIDTH, 3))


def _boxes_and_scores(count: int) -> list[TensorSpec]:
    return [
        TensorSpec(name="boxes", dtype="float32", axes=("batch", count, 4)),
        TensorSpec(name="scores", dtype="float32", axes=("batch", count, 2)),
    ]


def _write(
    artifact: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, NDArray[Any]],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    buckets: Sequence[dict[str, int]] = (),
    **fields: Any,
) -> None:
    graph = helper.make_graph(
        nodes,
        artifact.parent.name,
        [_value(spec) for spec in inputs],
        [_value(spec) for spec in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    rng, golden = np.random.default_rng(1), {}
    for bucket in buckets or (FIXED,):
        feeds = {
            spec.name: rng.integers(0, 60, (3, *spec.row_shape(bucket))).astype(spec.dtype)
            for spec in inputs
        }
        golden |= golden_rows(model, feeds, [spec.name for spec in outputs], bucket)
    save_artifact(
        artifact,
        model,
        golden,
        architecture="rule",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        buckets=tuple(buckets),
        **fields,
    )


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, list(spec.axes))
