"""Graphs as other people's exporters write them, small, with answers that are known beforehand.

The classifiers answer with the mean of each channel of what they are given, so that a red picture
is of class 0, and so that the exact numbers tell how the pixels were prepared.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

Axes = Sequence[int | str | None]


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, NDArray[Any]] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    domains: dict[str, int] | None = None,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """A whole model; up to IR version 3 its weights are among its inputs, as they were then."""
    tensors = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    if ir_version < 4:
        inputs = [
            *inputs,
            *(floats(each.name, list(each.dims), each.data_type) for each in tensors),
        ]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), tensors)
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name, version) for name, version in (domains or {}).items()]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    helper.set_model_props(made, metadata or {})
    return made


def floats(name: str, axes: Axes | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, axes)


node = helper.make_node


def torch_classifier(opset: int = 17, batch: int | str = "batch", ir_version: int = 8) -> Any:
    """``input [N, 3, 8, 8]``, normalised -> ``output [N, 3]`` logits, as torch.onnx writes it."""
    return model(
        [node("GlobalAveragePool", ["input"], ["pooled"]), node("Flatten", ["pooled"], ["output"])],
        [floats("input", [batch, 3, 8, 8])],
        [floats("output", [batch, 3])],
        opset=opset,
        ir_version=ir_version,
    )


def keras_classifier() -> onnx.ModelProto:
    """``input_1 [N, 8, 8, 3]``, -1..1 -> ``dense [N, 3]`` probabilities, as tf2onnx writes it."""
    return model(
        [
            node("ReduceMean", ["input_1"], ["pooled"], axes=[1, 2], keepdims=0),
            node("Softmax", ["pooled"], ["dense"], axis=-1),
        ],
        [floats("input_1", ["unk__6", 8, 8, 3])],
        [floats("dense", ["unk__7", 3])],
        opset=13,
    )


def caffe_classifier() -> onnx.ModelProto:
    """``data_0 [1, 3, 8, 8]``, blue first, less a mean -> ``prob_1 [1, 3, 1, 1]``; opset 7.

    Its channels are put back in order, so class 0 is red.
    """
    return model(
        [
            node("GlobalAveragePool", ["data_0"], ["pooled"]),
            node("Conv", ["pooled", "w"], ["turned"]),
            node("Softmax", ["turned"], ["prob_1"], axis=1),
        ],
        [floats("data_0", [1, 3, 8, 8])],
        [floats("prob_1", [1, 3, 1, 1])],
        {"w": np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1) / 100},
        opset=7,
        ir_version=3,
    )


def half_classifier() -> onnx.ModelProto:
    """``images [N, 3, 8, 8]`` float16, 0..1 -> ``logits [N, 3]`` float16."""
    made = torch_classifier()
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return made


def sklearn_classifier() -> onnx.ModelProto:
    """``X [N, 192]`` (8 x 8 px of 3) -> ``output_label`` and a sequence of maps, as skl2onnx."""
    weights = np.zeros((192, 3), np.float32)
    weights[np.arange(192), np.arange(192) % 3] = 1 / 64
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    return model(
        [
            node("MatMul", ["X", "w"], ["means"]),
            node("Softmax", ["means"], ["probabilities"], axis=1),
            node("ArgMax", ["means"], ["output_label"], axis=1, keepdims=0),
            node(
                "ZipMap",
                ["probabilities"],
                ["output_probability"],
                domain="ai.onnx.ml",
                classlabels_strings=["red", "green", "blue"],
            ),
        ],
        [floats("X", [None, 192])],
        [
            floats("output_label", [None], TensorProto.INT64),
            helper.make_value_info("output_probability", maps),
        ],
        {"w": weights},
        domains={"ai.onnx.ml": 1},
    )


def multi_label_classifier() -> onnx.ModelProto:
    """``pixel_values [N, 3, 8, 8]``, 0..1 -> ``logits [N, 3]`` that do not exclude each other."""
    return model(
        [
            node("GlobalAveragePool", ["pixel_values"], ["pooled"]),
            node("Flatten", ["pooled"], ["means"]),
            node("Sub", ["means", "half"], ["centred"]),
            node("Mul", ["centred", "twenty"], ["logits"]),
        ],
        [floats("pixel_values", ["batch_size", 3, "height", "width"])],
        [floats("logits", ["batch_size", 3])],
        {"half": np.array([0.5], np.float32), "twenty": np.array([20], np.float32)},
    )
