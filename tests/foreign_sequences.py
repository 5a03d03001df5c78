"""Sequence graphs as other people's exporters write them, whose answers are sums."""

import numpy as np
import onnx
from onnx import TensorProto

from tests.foreign_graphs import floats, model, node

ALPHABET = tuple("abcde")


def torch_lstm_language_model(batch: int | str = "batch") -> onnx.ModelProto:
    """The next letter is the sum of all before, modulo 5: ``h [layers, batch, hidden]`` as torch's.

    ``input_ids [batch, time]`` -> ``logits [batch, time, 5]``.
    """
    return model(
        [
            node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
            node("CumSum", ["numbers", "one"], ["sums"]),
            node("Squeeze", ["h0", "zero_axis"], ["before"]),
            node("Add", ["sums", "before"], ["all"]),
            node("Mod", ["all", "five"], ["next"], fmod=1),
            node("Unsqueeze", ["next", "last"], ["wide"]),
            node("Equal", ["wide", "letters"], ["is_next"]),
            node("Cast", ["is_next"], ["ones"], to=TensorProto.FLOAT),
            node("Mul", ["ones", "ten"], ["logits"]),
            node("Gather", ["next", "minus_one"], ["final"], axis=1),
            node("Unsqueeze", ["final", "zero_axis"], ["hn"]),
        ],
        [
            floats("input_ids", [batch, "time"], TensorProto.INT64),
            floats("h0", [1, batch, 1]),
        ],
        [floats("logits", [batch, "time", 5]), floats("hn", [1, batch, 1])],
        {
            "one": np.array(1),
            "zero_axis": np.array([0]),
            "last": np.array([-1]),
            "five": np.array(5, np.float32),
            "ten": np.array(10, np.float32),
            "letters": np.arange(5, dtype=np.float32),
            "minus_one": np.array([-1]),
        },
    )


def forecaster(*, looks_ahead: bool = False) -> onnx.ModelProto:
    """Two series: the forecast is the sum of all before. One that looks ahead sums backwards."""
    return model(
        [
            node("CumSum", ["x", "one"], ["sums"], reverse=int(looks_ahead)),
            node("Unsqueeze", ["past_sum", "first"], ["before"]),
            node("Add", ["sums", "before"], ["forecast"]),
            node("Gather", ["forecast", "minus_one"], ["present_sum"], axis=1),
        ],
        [floats("x", ["batch", "time", 2]), floats("past_sum", ["batch", 2])],
        [floats("forecast", ["batch", "time", 2]), floats("present_sum", ["batch", 2])],
        {"one": np.array(1), "first": np.array([1]), "minus_one": np.array(-1)},
    )
