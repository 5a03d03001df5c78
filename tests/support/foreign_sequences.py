"""Sequence graphs as other people's exporters write them: of sums, and one that transcribes."""

import numpy as np
import onnx
from onnx import TensorProto

from tests.support.foreign_graphs import floats, model, node

ALPHABET = tuple("abcde")
CTC_TEXTS = ("<pad>", "a", "b", " ", "d")
CTC_STRIDE = 4


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


def transcriber(
    *,
    series: int = 0,
    length: int | str = "time",
    batch: int | str = "batch",
    centred: bool = False,
    scores: bool = False,
) -> onnx.ModelProto:
    """``input_values [batch, time]`` -> ``logits [batch, time / 4, 5]``, as wav2vec2 has them.

    Each frame is of the class that its mean is nearest to; 0, and so padding, is the blank. With
    ``series`` the values are ``[batch, time, series]``. One that is centred takes the mean of all
    values off, as normalised sound; one with scores ends in a softmax.
    """
    channels, classes = series or 1, np.arange(len(CTC_TEXTS), dtype=np.float32)
    weights = np.broadcast_to(classes[:, None, None], (len(classes), channels, CTC_STRIDE))
    off = [node("ReduceMean", ["input_values"], ["mean"], axes=[1])] if centred else []
    planes = (
        node("Transpose", ["centred"], ["planes"], perm=[0, 2, 1])
        if series
        else node("Unsqueeze", ["centred", "one"], ["planes"])
    )
    return model(
        [
            *off,
            node("Sub", ["input_values", "mean" if centred else "zero"], ["centred"]),
            planes,
            node("Conv", ["planes", "weights", "bias"], ["classes"], strides=[CTC_STRIDE]),
            node("Transpose", ["classes"], ["raw"], perm=[0, 2, 1]),
            node("Softmax" if scores else "Identity", ["raw"], ["logits"]),
        ],
        [floats("input_values", [batch, length, *([series] if series else [])])],
        [floats("planes", [batch, channels, None]), floats("logits", [batch, None, len(classes)])],
        {
            "one": np.array([1]),
            "zero": np.array(0, np.float32),
            "weights": (weights * 2 / (channels * CTC_STRIDE)).astype(np.float32),
            "bias": -(classes**2),
        },
    )
