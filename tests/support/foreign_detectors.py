"""Detectors as other people's exporters write them, whose answer is known by construction.

Each finds the box around all that is bright in its picture, and takes the brightest value of each
channel for the score of a class: red, green, blue.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.support.foreign_graphs import floats, model

SIDE = 32
CELLS = 21  # of grids of 8, 16 and 32 px
_DTYPES = {
    "num_dets": TensorProto.INT32,
    "det_classes": TensorProto.INT32,
    "labels": TensorProto.INT64,
    "multiclass_nms3_0.tmp_2": TensorProto.INT32,
}


class Nodes:
    """Writes nodes; a call returns the name of the output."""

    def __init__(self) -> None:
        self.made: list[NodeProto] = []
        self._count = 0

    def __call__(self, kind: str, *inputs: Any, out: str = "", **attributes: Any) -> str:
        self._count += 1
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        output = out or f"t{self._count}"
        self.made.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self._count += 1
        name = f"c{self._count}"
        tensor = numpy_helper.from_array(array)
        self.made.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def concat(self, *parts: Any, axis: int, out: str = "") -> str:
        return self("Concat", *parts, axis=axis, out=out)

    def unsqueeze(self, tensor: str, axis: int) -> str:
        return self("Unsqueeze", tensor, np.array([axis]))


class Finder(Nodes):
    """Finds the bright rectangle of ``pixels [N, 3, S, S]``, 0..1.

    ``boxes [N, 4]``, x1, y1, x2, y2 in px, ``scores [N, 3]``.
    """

    def __init__(self, pixels: str) -> None:
        super().__init__()
        light = self("ReduceMax", pixels, axes=[1], keepdims=0)
        bright = self("Cast", self("Greater", light, 0.5), to=TensorProto.FLOAT)
        edges: list[tuple[str, str]] = []
        for axis in (1, 2):
            along = self("ReduceMax", bright, axes=[axis], keepdims=0)  # [N, S]
            place = np.arange(SIDE, dtype=np.float32)
            last = self("ReduceMax", self("Mul", along, place + 1), axes=[1])
            first = self("ReduceMax", self("Mul", along, SIDE - place), axes=[1])
            edges.append((self("Sub", float(SIDE), first), last))
        (x1, x2), (y1, y2) = edges
        self.boxes = self.concat(x1, y1, x2, y2, axis=1)
        self.scores = self("ReduceMax", pixels, axes=[2, 3], keepdims=0)
        centre = self("Div", self.concat(self("Add", x1, x2), self("Add", y1, y2), axis=1), 2.0)
        size = self.concat(self("Sub", x2, x1), self("Sub", y2, y1), axis=1)
        self.centred = self.concat(centre, size, axis=1)

    def rows(self, *columns: str, count: int, out: str = "") -> str:
        """``[N, count, ...]``: the columns in the second row, zeros in all others."""
        first, *others = columns
        row = self.unsqueeze(self.concat(first, *others, axis=1) if others else first, 1)
        return self("Pad", row, np.array([0, 1, 0, 0, count - 2, 0]), out=out)

    def ones(self) -> str:
        """``[N, 1]``."""
        return self("Add", self("Mul", self("ReduceMax", self.scores, axes=[1]), 0.0), 1.0)

    def best(self) -> tuple[str, str]:
        """Label, from 0, and score of the best class, ``[N, 1]`` each, floats."""
        label = self("Cast", self("ArgMax", self.scores, axis=1), to=TensorProto.FLOAT)
        return label, self("ReduceMax", self.scores, axes=[1])


def finish(
    nodes: Nodes, *outputs: str, batch: int | str = "batch", metadata: dict[str, str] | None = None
) -> onnx.ModelProto:
    """``images [N, 3, 32, 32]`` -> outputs of whatever shape."""
    return model(
        nodes.made,
        [floats("images", [batch, 3, SIDE, SIDE])],
        [floats(name, None, _DTYPES.get(name, TensorProto.FLOAT)) for name in outputs],
        metadata=metadata,
    )


def ultralytics(task: str = "detect", **more: str) -> dict[str, str]:
    """What Ultralytics writes beside its graphs."""
    names = "{0: 'red', 1: 'green', 2: 'blue'}"
    return {"task": task, "names": names, "imgsz": f"[{SIDE}, {SIDE}]", "stride": "32", **more}


def yolov8() -> onnx.ModelProto:
    find = Finder("images")
    rows = find.rows(find.centred, find.scores, count=CELLS)
    find("Transpose", rows, perm=[0, 2, 1], out="output0")
    return finish(find, "output0", metadata=ultralytics())


def yolov8_segment() -> onnx.ModelProto:
    """The second of two prototypes is the picture's brightness: its weight is 1."""
    find = Finder("images")
    weights = find.concat(find("Mul", find.ones(), 0.0), find.ones(), axis=1)
    rows = find.rows(find.centred, find.scores, weights, count=CELLS)
    find("Transpose", rows, perm=[0, 2, 1], out="output0")
    light = find("AveragePool", "images", kernel_shape=[4, 4], strides=[4, 4])
    light = find("ReduceMax", light, axes=[1])
    plane = find("Mul", find("Sub", light, 0.6), 20.0)
    find.concat(find("Neg", plane), plane, axis=1, out="output1")
    return finish(find, "output0", "output1", metadata=ultralytics("segment"))


def yolov8_pose() -> onnx.ModelProto:
    """Two points: the upper left and the lower right corner, both wholly visible."""
    find = Finder("images")
    one = find.ones()
    first = find("Slice", find.boxes, np.array([0]), np.array([2]), np.array([1]))
    second = find("Slice", find.boxes, np.array([2]), np.array([4]), np.array([1]))
    rows = find.rows(find.centred, find.scores, first, one, second, one, count=CELLS)
    find("Transpose", rows, perm=[0, 2, 1], out="output0")
    return finish(find, "output0", metadata=ultralytics("pose", kpt_shape="[2, 3]"))


def yolov5() -> onnx.ModelProto:
    """Its objectness is 0.6, so a score is 0.6 of the class's."""
    find = Finder("images")
    thing = find("Mul", find.ones(), 0.6)
    find.rows(find.centred, thing, find.scores, count=3 * CELLS, out="output")
    return finish(find, "output", metadata={"stride": "32", "names": "['red', 'green', 'blue']"})


def yolox() -> onnx.ModelProto:
    """Relative to the second cell of the finest grid: column 1, row 0, 8 px."""
    find = Finder("images")
    centre = find("Slice", find.centred, np.array([0]), np.array([2]), np.array([1]))
    sides = find("Slice", find.centred, np.array([2]), np.array([4]), np.array([1]))
    cells = find("Sub", find("Div", centre, 8.0), np.array([1, 0], np.float32))
    logs = find("Log", find("Max", find("Div", sides, 8.0), 1e-6))
    find.rows(cells, logs, find.ones(), find.scores, count=CELLS, out="output")
    return finish(find, "output")


def end_to_end() -> onnx.ModelProto:
    find = Finder("images")
    label, score = find.best()
    find.rows(find.boxes, score, label, count=300, out="output0")
    return finish(find, "output0", metadata=ultralytics())


def yolov7_end_to_end() -> onnx.ModelProto:
    """As many rows as it likes, of all images: ``[rows, 7]``."""
    find = Finder("images")
    label, score = find.best()
    number = find("Mul", find.ones(), 0.0)
    row = find.concat(number, find.boxes, label, score, axis=1)
    is_found = find("Squeeze", find("Greater", score, 0.3), np.array([1]))
    find("Compress", row, is_found, axis=0, out="output")
    find("NonZero", score)
    return finish(find, "output", batch=1)


def efficient_nms() -> onnx.ModelProto:
    """TensorRT's plug-in: rows beyond the number hold whatever was there before."""
    find = Finder("images")
    label, score = find.best()
    rows = find.rows(find.boxes, score, label, count=5)
    first = find("Slice", rows, np.array([1]), np.array([5]), np.array([1]))
    find("Cast", find("Greater", score, 0.3), to=TensorProto.INT32, out="num_dets")
    rubbish = find("Add", first, np.array([0, 9, 9, 9], np.float32).reshape(1, 4, 1))
    find("Slice", rubbish, np.array([0]), np.array([4]), np.array([2]), out="det_boxes")
    for name, column in (("det_scores", 4), ("classes", 5)):
        one = find("Slice", rubbish, np.array([column]), np.array([column + 1]), np.array([2]))
        find("Squeeze", one, np.array([2]), out=name)
    find("Cast", "classes", to=TensorProto.INT32, out="det_classes")
    return finish(find, "num_dets", "det_boxes", "det_scores", "det_classes")


def torchvision_faster_rcnn() -> onnx.ModelProto:
    """``[3, H, W]`` without a batch; classes that score enough, numbered from 1."""
    nodes = Finder("batched")
    each = nodes("Squeeze", nodes.scores, np.array([0]))
    kept = nodes("Squeeze", nodes("NonZero", nodes("Greater", each, 0.3)), np.array([0]))
    nodes("Gather", each, kept, out="scores")
    nodes("Add", kept, np.array(1), out="labels")
    copies = nodes("Expand", nodes.boxes, np.array([3, 4]))
    nodes("Gather", copies, kept, out="boxes")
    first = helper.make_node("Unsqueeze", ["image", "axis"], ["batched"])
    return model(
        [first, *nodes.made],
        [floats("image", [3, "height", "width"])],
        [floats("boxes", None), floats("labels", None, TensorProto.INT64), floats("scores", None)],
        {"axis": np.array([0])},
    )


def ssd() -> onnx.ModelProto:
    """Boxes as shares of the sides; the background is a class, and the first."""
    find = Finder("images")
    find.rows(find("Div", find.boxes, float(SIDE)), count=CELLS, out="bboxes")
    background = find("Mul", find.ones(), 0.1)
    find.rows(background, find.scores, count=CELLS, out="scores")
    return finish(find, "bboxes", "scores")


def ssd_chosen() -> onnx.ModelProto:
    """The form of ONNX's model zoo: labels from 1."""
    find = Finder("images")
    label, score = find.best()
    find.rows(find("Div", find.boxes, float(SIDE)), count=5, out="bboxes")
    for name, column in (("label", find("Add", label, 1.0)), ("scores", score)):
        find("Squeeze", find.rows(column, count=5), np.array([2]), out=name)
    find("Cast", "label", to=TensorProto.INT64, out="labels")
    return finish(find, "bboxes", "labels", "scores")


def tensorflow_ssd() -> onnx.ModelProto:
    """``[N, ?, ?, 3]`` bytes; y1, x1, y2, x2 as shares of the sides, classes from 1, as floats."""
    find = Finder("pixels")
    label, score = find.best()
    turned = find("Gather", find("Div", find.boxes, float(SIDE)), np.array([1, 0, 3, 2]), axis=1)
    find.rows(turned, count=10, out="detection_boxes")
    columns = {"detection_classes": find("Add", label, 1.0), "detection_scores": score}
    for name, column in columns.items():
        find("Squeeze", find.rows(column, count=10), np.array([2]), out=name)
    find("Squeeze", find("Mul", find.ones(), 10.0), np.array([1]), out="num_detections")
    first = [
        helper.make_node("Cast", ["input_tensor"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["pixels"], perm=[0, 3, 1, 2]),
    ]
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    return model(
        [*first, *find.made],
        [floats("input_tensor", ["unk__1", "unk__2", "unk__3", 3], TensorProto.UINT8)],
        [floats(name, None) for name in names],
        {"scale": np.array([1 / 255], np.float32)},
    )


def detr() -> onnx.ModelProto:
    """``logits`` with "no object" last: ten times the score against 5."""
    find = Finder("images")
    none = find("Mul", find.ones(), 5.0)
    row = find.rows(find("Mul", find.scores, 10.0), none, count=10)
    empty = np.zeros((1, 10, 4), np.float32)
    empty[:, [0, *range(2, 10)], 3] = 20
    find("Add", row, empty, out="logits")
    find.rows(find("Div", find.centred, float(SIDE)), count=10, out="pred_boxes")
    return finish(find, "logits", "pred_boxes")


def rt_detr() -> onnx.ModelProto:
    """``logits``, each on its own: 10 times what the score is over a half."""
    find = Finder("images")
    row = find.rows(find("Mul", find("Sub", find.scores, 0.5), 10.0), count=10)
    empty = np.full((1, 10, 3), -20.0)
    empty[:, 1] = 0
    find("Add", row, empty, out="logits")
    find.rows(find("Div", find.centred, float(SIDE)), count=10, out="pred_boxes")
    return finish(find, "logits", "pred_boxes")


def fcos(*, are_strides: bool) -> onnx.ModelProto:
    """Grids of 8 and 16 px; each cell means the same box, and is wholly sure of its place."""
    find = Finder("images")
    outputs: list[str] = []
    for level, stride in enumerate((8, 16)):
        cells = SIDE // stride
        centre = (np.arange(cells, dtype=np.float32) + 0.5) * stride
        x, y = (each.reshape(1, 1, cells, cells) for each in np.meshgrid(centre, centre))
        signs = np.array([1, 1, -1, -1], np.float32).reshape(1, 4, 1, 1)
        places: NDArray[np.float32] = np.concatenate([x, y, x, y], axis=1)
        box = find.unsqueeze(find.unsqueeze(find.boxes, 2), 3)
        distances = find("Mul", find("Sub", places, box), signs)
        scale = np.float32(stride if are_strides else 1)
        odds = find("Sub", find("Div", 1.0, find("Add", find.scores, 1e-4)), 1.0)
        logits = find("Neg", find("Log", find("Max", odds, 1e-4)))
        wide = find.unsqueeze(find.unsqueeze(logits, 2), 3)
        like = np.zeros((1, 3, cells, cells), np.float32)
        find("Add", wide, like, out=f"cls_{level}")
        find("Div", distances, scale, out=f"bbox_{level}")
        sure = find.unsqueeze(find.unsqueeze(find("Mul", find.ones(), 30.0), 2), 3)
        find("Add", sure, like[:, :1], out=f"centerness_{level}")
        outputs += [f"cls_{level}", f"bbox_{level}", f"centerness_{level}"]
    order = sorted(outputs)  # as mmdetection has them: boxes, centrenesses, classes
    return finish(find, *order)


def paddle() -> onnx.ModelProto:
    """Takes the picture's scale, too; ``[rows, 6]``: class, score, box; and how many."""
    find = Finder("images")
    label, score = find.best()
    scale = find("Slice", "scale_factor", np.array([0]), np.array([1]), np.array([1]))
    row = find.concat(label, score, find("Div", find.boxes, scale), axis=1)
    is_found = find("Squeeze", find("Greater", score, 0.3), np.array([1]))
    find("Compress", row, is_found, axis=0, out="multiclass_nms3_0.tmp_0")
    find("NonZero", score)
    find("Cast", is_found, to=TensorProto.INT32, out="multiclass_nms3_0.tmp_2")
    made = finish(find, "multiclass_nms3_0.tmp_0", "multiclass_nms3_0.tmp_2", batch=1)
    made.graph.input.append(floats("scale_factor", [1, 2]))
    return made
