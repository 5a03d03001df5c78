"""Heads of segmenters: the graph's answer becomes a mask and its confidence.

The graph itself chooses the class of each pixel, so that only a mask leaves the device and not one
plane per class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from export.adoption.graph_editor import GraphEditor
from export.adoption.graph_runner import Answer
from export.adoption.heads.head import (
    ANY_GRAPH,
    Head,
    check_graph_labels,
    check_head_name,
    in_words,
)
from export.adoption.image_input import Finding
from export.artifact.tolerances import MASK_TOLERANCE
from export.errors import AdoptionError
from service.artifact.manifest import TensorSpec
from service.artifact.sections import SegmentationSection

HEADS = ("logits", "scores", "sigmoid", "index")
"""``logits [C, h, w]``: the largest one is the class, softmax gives the confidence. ``scores``: the
same as 0..1. ``sigmoid [C, h, w]``: logits that do not exclude each other; with one label more than
planes, the first label is for pixels where no plane reaches 0.5. ``index [h, w]``: the class of
each pixel."""


@dataclass(frozen=True)
class _Planes:
    answer: Answer
    class_axis: int | None  # None: an index map
    classes: int

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width of the map, px."""
        if self.class_axis is None:
            return tuple(side for side in self.answer.shape[1:] if side != 1)
        return tuple(
            side for axis, side in enumerate(self.answer.shape) if axis not in (0, self.class_axis)
        )


def finish(
    editor: GraphEditor,
    answers: Sequence[Answer],
    labels: tuple[str, ...],
    head_name: str | None,
    size: tuple[int, int],
    is_fixed: bool,
) -> Head:
    """Append the nodes that make a mask of the graph's answer.

    Args:
        editor: of the graph; its outputs are replaced.
        answers: the graph's outputs for a few images of ``size``, one at a time.
        labels: of the classes.
        head_name: one of `HEADS`; None: find out which one fits.
        size: height and width, px.
        is_fixed: whether ``size`` is the only size.

    Raises:
        AdoptionError: no output is a map of the image.
        LabelsError: the numbers of labels and classes differ.
    """
    check_head_name(head_name, HEADS, "segmentation")
    found = _choose(answers, len(labels), size, head_name)
    name, why = (head_name, "--head") if head_name else _propose(found)
    has_rest = name == "sigmoid" and len(labels) == found.classes + 1
    if found.class_axis is not None:
        check_graph_labels(found.classes + has_rest, labels, str(found.answer))
    if len(labels) > 256:
        raise AdoptionError(f"a mask has at most 256 classes, and there are {len(labels)} labels")
    if name == "index":
        planes = [_index_map(editor, found)]
    else:
        planes = _best_class(editor, _planes_at_size(editor, found, size, is_fixed), name, has_rest)
    shape = size if found.class_axis is None or editor.opset_version >= 11 else found.size
    outputs = _declare(editor, planes, shape if is_fixed else ("height", "width"), len(labels))
    return Head(
        name,
        outputs,
        labels,
        MASK_TOLERANCE,
        SegmentationSection(),
        (Finding("head", f"{name}: {found.answer}", why),),
    )


def _declare(
    editor: GraphEditor, planes: Sequence[str], sides: Sequence[int | str], classes: int
) -> tuple[TensorSpec, ...]:
    """Let the graph answer with the planes and nothing else; an index map has only the mask."""
    names = [editor.cast(planes[0], TensorProto.UINT8, editor.fresh("mask"))]
    for plane, name in zip(planes[1:], ("confidence", "scores"), strict=False):
        scaled = editor.node("Mul", [plane, _number(editor, 255)])
        rounded = editor.node("Floor", [editor.node("Add", [scaled, _number(editor, 0.5)])])
        names.append(editor.cast(rounded, TensorProto.UINT8, editor.fresh(name)))
    shapes = (("batch", *sides), ("batch", *sides), ("batch", classes, *sides))
    specs = [
        TensorSpec(name=name, dtype="uint8", axes=axes, on_request=len(axes) == 4)
        for name, axes in zip(names, shapes, strict=False)
    ]
    editor.answer_with(specs)
    return tuple(specs)


def _choose(
    answers: Sequence[Answer], labels: int, size: tuple[int, int], head_name: str | None
) -> _Planes:
    """The output that is a map of the image; the largest of several."""
    found: list[_Planes] = []
    for answer in answers:
        if np.issubdtype(answer.rows[0].dtype, np.integer) or head_name == "index":
            if answer.shape in ((1, *size), (1, 1, *size), (1, *size, 1)):
                found.append(_Planes(answer, None, 0))
        elif len(answer.shape) == 4 and len(answer.shapes) == 1:
            axis = 3 if _is_last(answer.shape, labels) else 1
            found.append(_Planes(answer, axis, answer.shape[axis]))
        elif answer.shape == (1, *size):
            raise AdoptionError(
                f"{answer} may be a mask or a score; give --head index if it is a mask"
            )
    if not found:
        raise AdoptionError(
            f"no output is a map of the image of {size[0]}x{size[1]} px: {in_words(answers)}; give"
            f" another --task. {ANY_GRAPH}"
        )
    return max(found, key=lambda each: (each.classes == labels, each.answer.rows[0].size))


def _is_last(shape: tuple[int, ...], labels: int) -> bool:
    if labels in (shape[1], shape[3]):
        return shape[1] != labels
    return shape[3] < shape[1]


def _propose(found: _Planes) -> tuple[str, str]:
    if found.class_axis is None:
        return "index", "it holds whole numbers"
    if found.classes == 1:
        inside = all(((row >= 0) & (row <= 1)).all() for row in found.answer.rows)
        if not inside:
            return "sigmoid", "one plane, not 0 to 1"
        raise AdoptionError(
            f"{found.answer} is one plane of scores; export its logits, or two planes"
        )
    values = np.stack(found.answer.rows)
    sums = values.sum(axis=found.class_axis + 1)
    if values.min() >= 0 and np.allclose(sums, 1, atol=1e-2):
        return "scores", "they are 0 to 1 and sum to 1 over the classes"
    return "logits", "a guess; else give --head sigmoid"


def _index_map(editor: GraphEditor, found: _Planes) -> str:
    mask = found.answer.name
    if len(found.answer.shape) == 4:
        mask = editor.squeeze(mask, 1 if found.answer.shape[1] == 1 else 3)
    return mask


def _planes_at_size(
    editor: GraphEditor, found: _Planes, size: tuple[int, int], is_fixed: bool
) -> str:
    """``[N, C, H, W]`` float32 of the image's size."""
    planes = editor.cast(found.answer.name, TensorProto.FLOAT)
    shape = found.answer.shape
    if found.class_axis == 3:
        planes = editor.node("Transpose", [planes], perm=[0, 3, 1, 2])
        shape = (shape[0], shape[3], shape[1], shape[2])
    if shape[2:] == size:
        return planes
    ratios = [side / small for side, small in zip(size, shape[2:], strict=True)]
    if editor.opset_version < 11 and is_fixed:
        return planes  # the server enlarges the mask instead, which is less smooth
    if not is_fixed and (editor.opset_version < 11 or any(ratio % 1 for ratio in ratios)):
        raise AdoptionError(
            f"the graph's map is {shape[2]}x{shape[3]} for an image of {size[0]}x{size[1]}; give"
            " one --size only, or sizes that it divides and an opset of 11 or newer"
        )
    nothing = editor.constant(np.array([], np.float32))
    scales = editor.constant(np.array([1, 1, *ratios], np.float32))
    inputs = [planes, nothing, scales]
    if is_fixed:
        # Exact sizes, where a ratio is no whole number.
        inputs = [planes, nothing, nothing, _sizes_of(editor, planes, size)]
    return editor.node("Resize", inputs, mode="linear", coordinate_transformation_mode="half_pixel")


def _sizes_of(editor: GraphEditor, planes: str, size: tuple[int, int]) -> str:
    first = editor.slice(editor.node("Shape", [planes]), 0, 2, 0)
    return editor.node("Concat", [first, editor.constant(np.array(size, np.int64))], axis=0)


def _best_class(editor: GraphEditor, planes: str, name: str, has_rest: bool) -> list[str]:
    """Mask and confidence ``[N, H, W]``, and the probabilities ``[N, C, H, W]``."""
    if name == "sigmoid":
        planes = editor.node("Sigmoid", [planes])
        if has_rest:
            best = editor.reduce("ReduceMax", planes, 1, keepdims=True)
            rest = editor.node("Sub", [_number(editor, 1), best])
            planes = editor.node("Concat", [rest, planes], axis=1)
    mask = editor.node("ArgMax", [planes], axis=1, keepdims=0)
    if name != "logits":
        return [mask, editor.reduce("ReduceMax", planes, 1, keepdims=False), planes]
    # Softmax in steps, because before opset 13 it covered all following axes. Its largest value
    # needs only one of the steps.
    best = editor.reduce("ReduceMax", planes, 1, keepdims=True)
    shares = editor.node("Exp", [editor.node("Sub", [planes, best])])
    total = editor.reduce("ReduceSum", shares, 1, keepdims=True)
    confidence = editor.node("Div", [_number(editor, 1), editor.squeeze(total, 1)])
    return [mask, confidence, editor.node("Div", [shares, total])]


def _number(editor: GraphEditor, value: float) -> str:
    return editor.constant(np.array(value, np.float32))
