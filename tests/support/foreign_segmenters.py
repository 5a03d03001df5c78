"""Segmenters as other people's exporters write them, whose masks are known by construction.

The class of a pixel is its brightest colour: dark, red, green or blue.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.support.foreign_graphs import floats, model, node

CLASSES = ("dark", "red", "green", "blue")
_WEIGHTS: dict[str, Any] = {
    "w": np.concatenate([np.zeros((1, 3)), 10 * np.eye(3)]).astype(np.float32).reshape(4, 3, 1, 1),
    "b": np.array([3, 0, 0, 0], np.float32),
}


def segformer() -> onnx.ModelProto:
    """``logits`` of a quarter of the sides, as Hugging Face's Optimum writes it."""
    return model(
        [
            node("AveragePool", ["pixel_values"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
            node("Conv", ["small", "w", "b"], ["logits"]),
        ],
        [floats("pixel_values", ["batch_size", 3, "height", "width"])],
        [floats("logits", ["batch_size", 4, "out_height", "out_width"])],
        _WEIGHTS,
    )


def old_fcn(opset: int = 9) -> onnx.ModelProto:
    """Of an opset in which nothing could be enlarged smoothly."""
    made = segformer()
    made.opset_import[0].version = opset
    return made


def torch_fcn() -> onnx.ModelProto:
    """``out [N, C, H, W]`` logits and auxiliary ones, of any size."""
    return model(
        [
            node("Conv", ["input", "w", "b"], ["out"]),
            node("AveragePool", ["out"], ["aux"], kernel_shape=[8, 8], strides=[8, 8]),
        ],
        [floats("input", ["batch", 3, "height", "width"])],
        [floats("out", ["batch", 4, "height", "width"]), floats("aux", None)],
        _WEIGHTS,
    )


def paddle_seg(dtype: int = TensorProto.INT32) -> onnx.ModelProto:
    """The index map itself, fixed in all sizes."""
    return model(
        [
            node("Conv", ["x", "w", "b"], ["logits"]),
            node("ArgMax", ["logits"], ["indices"], axis=1, keepdims=0),
            node("Cast", ["indices"], ["argmax_0.tmp_0"], to=dtype),
        ],
        [floats("x", [1, 3, 64, 96])],
        [floats("argmax_0.tmp_0", [1, 64, 96], dtype)],
        _WEIGHTS,
    )


def keras_unet() -> onnx.ModelProto:
    """``[N, H, W, 3]`` in, probabilities ``[N, H, W, C]`` out."""
    return model(
        [
            node("Transpose", ["input_1"], ["turned"], perm=[0, 3, 1, 2]),
            node("Conv", ["turned", "w", "b"], ["logits"]),
            node("Transpose", ["logits"], ["last"], perm=[0, 2, 3, 1]),
            node("Softmax", ["last"], ["softmax"], axis=-1),
        ],
        [floats("input_1", ["unk__0", 64, 96, 3])],
        [floats("softmax", ["unk__1", 64, 96, 4])],
        _WEIGHTS,
        opset=13,
    )


def sigmoid_unet() -> onnx.ModelProto:
    """Three planes of logits that do not exclude each other; where none is over 0: dark."""
    return model(
        [node("Conv", ["x", "w", "b"], ["masks"])],
        [floats("x", ["batch", 3, 64, 96])],
        [floats("masks", ["batch", 3, 64, 96])],
        {"w": _WEIGHTS["w"][1:], "b": np.array([-5, -5, -5], np.float32)},
    )
