"""Heads of detectors: the outputs that the server's head reads, in its order and of fixed size."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from onnx import TensorProto

from export.adoption.graph_description import literal
from export.adoption.graph_editor import GraphEditor
from export.adoption.graph_runner import Answer
from export.adoption.heads import detector_formats as formats
from export.adoption.heads.detector_formats import DetectorFormat, FormatReader, HeadOutput, Size
from export.adoption.heads.head import ANY_GRAPH, Head, check_head_name, in_words
from export.adoption.image_input import Finding
from export.artifact.tolerances import BOX_TOLERANCE, HALF_BOX_TOLERANCE, PICKED_BOX_TOLERANCE
from export.errors import AdoptionError, LabelsError
from service.artifact.manifest import TensorSpec, Tolerance
from service.artifact.sections import DetectionSection

HEADS: Mapping[str, FormatReader] = MappingProxyType(
    {
        "tensorflow": formats.tensorflow,
        "yolov8-segment": formats.segment,
        "efficient-nms": formats.efficient_nms,
        "torchvision": formats.labelled_boxes(are_shares=False),
        "ssd-chosen": formats.labelled_boxes(are_shares=True),
        "candidates": formats.two_tables(0, are_scores=True, are_shares=False),
        "ssd": formats.two_tables(1, are_scores=True, are_shares=True),
        "detr": formats.swapped(formats.two_tables(1, are_scores=False, are_shares=True)),
        "rt-detr": formats.swapped(formats.two_tables(0, are_scores=False, are_shares=True)),
        "paddle": formats.columns(6, others=1),
        "end-to-end": formats.columns(6, others=0),
        "yolov7-end-to-end": formats.columns(7, others=0),
        "yolox": formats.yolox,
        "yolov5": formats.yolo(5),
        "yolov8": formats.yolo(4),
        "fcos": formats.levels,
        "fcos-strides": formats.levels,
    }
)
"""In the order in which they are tried; beside them there is ``yolov8-pose``."""
_POSE = "yolov8-pose"
_MIN_ROWS = 300
"""Rows of the output of a graph that answers with any number of boxes."""
_COCO_POINTS = (
    *("nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder"),
    *("left elbow", "right elbow", "left wrist", "right wrist", "left hip", "right hip"),
    *("left knee", "right knee", "left ankle", "right ankle"),
)


def finish(
    editor: GraphEditor,
    answers: Sequence[Answer],
    labels: tuple[str, ...],
    head_name: str | None,
    size: Size,
    metadata: Mapping[str, str],
) -> Head:
    """Let the graph answer with the outputs that a head reads, and nothing else.

    Args:
        editor: of the graph; its outputs are replaced.
        answers: the graph's outputs for a few images, one at a time.
        labels: of the classes, without a background.
        head_name: a name of `HEADS`; None: find out which one fits.
        size: of the input, px.
        metadata: of the graph.

    Raises:
        AdoptionError: the outputs fit no head, or not the named one.
        LabelsError: the numbers of labels and classes differ.
    """
    check_head_name(head_name, (*HEADS, _POSE), "detection")
    points = _points(metadata)
    name, read_as, why = _choose(answers, labels, head_name, size, points)
    is_variable = [_is_variable(editor, output) for output in read_as.outputs]
    outputs = tuple(
        _write(editor, output, variable)
        for output, variable in zip(read_as.outputs, is_variable, strict=True)
    )
    editor.answer_with(outputs)
    is_half = any(output.answer.rows[0].dtype == np.float16 for output in read_as.outputs)
    is_single = any(is_variable) or not all(output.is_batched for output in read_as.outputs)
    shown = ", ".join(str(output.answer) for output in read_as.outputs)
    return Head(
        name,
        outputs,
        labels,
        _tolerance(is_half, any(is_variable)),
        DetectionSection(head=name, keypoints=points if name == _POSE else ()),
        (Finding("head", f"{name}: {shown}", why),),
        max_batch_size=1 if is_single else None,
    )


def _tolerance(is_half: bool, is_picking: bool) -> Tolerance:
    if is_half:
        return HALF_BOX_TOLERANCE
    return PICKED_BOX_TOLERANCE if is_picking else BOX_TOLERANCE


def _points(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the keypoints of Ultralytics' pose models."""
    match literal(dict(metadata), "kpt_shape"):
        case [17, 3]:
            return _COCO_POINTS
        case [int(count), 3]:
            return tuple(f"point {number}" for number in range(1, count + 1))
        case _:
            return ()


def _choose(
    answers: Sequence[Answer],
    labels: tuple[str, ...],
    head_name: str | None,
    size: Size,
    points: tuple[str, ...],
) -> tuple[str, DetectorFormat, str]:
    """The head, how it reads the answers, and the reason for the choice."""
    known: dict[str, FormatReader] = {_POSE: formats.yolo(4 + 3 * len(points))} if points else {}
    known |= HEADS
    if head_name == _POSE and not points:
        raise AdoptionError(
            "the file's metadata have no kpt_shape of three numbers per point; yolov8-pose is for"
            " Ultralytics' pose models"
        )
    names = [head_name] if head_name else list(known)
    found = {
        name: read_as for name in names if (read_as := known[name](answers, len(labels), size))
    }
    fitting = {
        name: read_as for name, read_as in found.items() if read_as.classes in (None, len(labels))
    }
    for name, read_as in fitting.items():
        if read_as.is_plausible or head_name:
            return (
                name,
                read_as,
                "--head" if head_name else "the shapes of the outputs; else give --head",
            )
    if found and not fitting:
        counts = " or ".join(f"{read_as.classes} (as {name})" for name, read_as in found.items())
        raise LabelsError(
            f"the graph has {counts} classes and there are {len(labels)} labels; give one label"
            f" per class, without a background. The outputs are {in_words(answers)}"
        )
    reads = f"the head {head_name}" if head_name else "any head"
    raise AdoptionError(
        f"the outputs do not fit {reads}: {in_words(answers)}; see docs/adopting.md for what"
        f" each head reads. {ANY_GRAPH}"
    )


def _is_variable(editor: GraphEditor, output: HeadOutput) -> bool:
    """Whether the number of rows varies from image to image."""
    if output.rank == 0:
        return False
    if len(output.answer.shapes) > 1:
        return True
    rows = output.answer.axes[-output.rank] if len(output.answer.axes) >= output.rank else None
    return not isinstance(rows, int) and editor.uses("NonMaxSuppression", "NonZero")


def _write(editor: GraphEditor, output: HeadOutput, is_variable: bool) -> TensorSpec:
    """Write one output of the adopted graph: batched, of fixed size, float32 or int64."""
    is_float = np.issubdtype(output.answer.rows[0].dtype, np.floating)
    dtype = TensorProto.FLOAT if is_float else TensorProto.INT64
    tensor = editor.cast(output.answer.name, dtype)
    if not output.is_batched:
        tensor = editor.unsqueeze(tensor, 0)
    shape = list(output.row)
    if is_variable:
        most = max(row.shape[-output.rank] for row in output.answer.rows)
        shape[0] = max(_MIN_ROWS, 2 * most)
        nothing = np.zeros((1, *shape), np.float32 if is_float else np.int64)
        tensor = editor.node("Concat", [tensor, editor.constant(nothing)], axis=1)
        tensor = editor.slice(tensor, 0, shape[0], 1)
    name = editor.node("Identity", [tensor], editor.fresh(f"head_{output.answer.name}"))
    return TensorSpec(name=name, dtype="float32" if is_float else "int64", axes=("batch", *shape))
