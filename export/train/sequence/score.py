"""Scores of sequence models on held-out data, measured on the exported artifact itself."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.artifact.parity import open_session
from export.errors import DataError
from service.artifact.manifest import MODEL_FILE, read_manifest
from service.artifact.sections import ResidualQuantiles

WINDOWS = 16
"""The batch of windows for models with a bounded context."""


class SequenceRunner:
    """Runs an artifact on a batch of sequences in ONNX Runtime, and keeps their state.

    Args:
        artifact_dir: the artifact.
        batch: the number of sequences.

    Raises:
        DataError: the artifact has another task.
    """

    def __init__(self, artifact_dir: Path, batch: int) -> None:
        manifest, _ = read_manifest(artifact_dir.resolve())
        if manifest.sequence is None:
            raise DataError(f"{artifact_dir} is a model for {manifest.task}, not for sequences")
        self.section = manifest.sequence
        self._session = open_session(artifact_dir / MODEL_FILE)
        self._inputs, self._batch = manifest.inputs, batch
        self._whole = {"past": self.section.context}
        self._updates = {state.output: state for state in self.section.states}
        self._time_axis = {
            tensor.name: tensor.axes.index("time")
            for tensor in manifest.outputs
            if "time" in tensor.axes
        }
        self.restart()

    def restart(self) -> None:
        """Go back to the beginning of a sequence."""
        self._steps = 0
        self.state: dict[str, NDArray[Any]] = {
            tensor.name: np.zeros((self._batch, *tensor.row_shape(self._whole)), tensor.dtype)
            for tensor in self._inputs[1:]
        }

    def step(self, elements: NDArray[Any]) -> NDArray[np.float32]:
        """Read ``[batch, T, ...]``; returns the prediction after each element."""
        names = [output.name for output in self._session.get_outputs()]
        feeds = {self._inputs[0].name: elements, **self.state}
        predictions, *new = (np.asarray(each) for each in self._session.run(None, feeds))
        for name, array in zip(names[1:], new, strict=True):
            state = self._updates[name]
            if state.update == "replace":
                self.state[state.input] = array
            else:
                axis = self._time_axis[name]
                cache = np.moveaxis(self.state[state.input], axis, 0)
                cache[self._steps : self._steps + elements.shape[1]] = np.moveaxis(array, axis, 0)
        self._steps += elements.shape[1]
        if self.section.position_input:
            self.state[self.section.position_input][:] = self._steps
        return predictions

    def read(self, elements: NDArray[Any]) -> NDArray[np.float32]:
        """``step`` in runs of the artifact's chunk: the predictions after all elements."""
        starts = range(0, elements.shape[1], self.section.chunk)
        parts = [self.step(elements[:, start : start + self.section.chunk]) for start in starts]
        return np.concatenate(parts, axis=1)


def bits_per_character(artifact_dir: Path, tokens: NDArray[np.int64]) -> float:
    """The mean of -log2 P(token | those before), over all tokens ``[T]`` but the first.

    An artifact without a bounded context reads all tokens in sequence. An artifact with one reads
    windows that overlap by half a context, and the second half of each window counts. So every
    token but the first ones is predicted from half a context or more.
    """
    section = SequenceRunner(artifact_dir, 1).section
    if not section.context:
        runner = SequenceRunner(artifact_dir, 1)
        return float(surprise(runner.read(tokens[None, :-1]), tokens[None, 1:]).mean())
    inputs, targets, is_new = windows(tokens, section.context)
    runner = SequenceRunner(artifact_dir, WINDOWS)
    total = 0.0
    for start in range(0, len(inputs), WINDOWS):
        part = np.arange(start, start + WINDOWS) % len(inputs)
        runner.restart()
        bits = surprise(runner.read(inputs[part]), targets[part]) * is_new[part]
        total += float(bits[: len(inputs) - start].sum())
    return total / int(is_new.sum())


def windows(
    tokens: NDArray[np.int64], context: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Windows of a text that overlap by half, ``[windows, context]`` each.

    Returns:
        Inputs, targets, and which targets are in no window before; the last window is padded with
        zeros.
    """
    stride = context // 2
    predictions = len(tokens) - 1
    count = max(1, math.ceil((predictions - context) / stride) + 1)
    places = np.arange(count)[:, None] * stride + np.arange(context)
    is_new = np.broadcast_to(np.arange(context) >= context - stride, places.shape).copy()
    is_new[0] = True
    is_new &= places < predictions
    padded = np.pad(tokens, (0, places.max() + 2 - len(tokens)))
    return padded[places], padded[places + 1], is_new


def surprise(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """``-log2 P(target)``: bits, of the targets' shape."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    of_target = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    return (np.log(np.exp(shifted).sum(-1)) - of_target) / math.log(2)


def forecast_errors(
    artifact_dir: Path, values: NDArray[np.float32], start: int, horizon: int
) -> NDArray[np.float64]:
    """True values minus iterated forecasts, in the series' units.

    Each forecast knows all values before it. The whole series is read once, and at every place the
    artifact continues with its own predictions.

    Args:
        artifact_dir: the artifact.
        values: ``[T, series]``.
        start: the first place of a forecast; the last one has ``horizon`` known values after it.
        horizon: the number of steps ahead.

    Returns:
        ``[places, horizon, series]``.
    """
    reader = SequenceRunner(artifact_dir, 1)
    reader.read(values[None, : start - 1])
    steps, states = [], []
    for place in range(start, len(values) - horizon + 1):
        steps.append(reader.step(values[None, place - 1 : place]))
        states.append(reader.state)
        reader.state = dict(reader.state)
    runner = SequenceRunner(artifact_dir, len(states))
    runner.state = {name: np.concatenate([each[name] for each in states]) for name in runner.state}
    forecasts = [np.concatenate(steps)]
    while len(forecasts) < horizon:
        forecasts.append(runner.step(forecasts[-1]))
    true = np.lib.stride_tricks.sliding_window_view(values[start:], horizon, axis=0)
    return true.swapaxes(1, 2).astype(np.float64) - np.concatenate(forecasts, axis=1)


def forecast_scores(
    errors: NDArray[np.float64], values: NDArray[np.float32], start: int
) -> dict[str, float]:
    """Mean absolute errors one step ahead and at the last step, beside those of persistence.

    Args:
        errors: of `forecast_errors`.
        values: the series.
        start: the first place of a forecast.

    Returns:
        ``mae_H``, ``mae_H_persistence`` (the last value, repeated) and ``skill_H``, 1 minus
        their ratio: 0 is no better than persistence, 1 is perfect.
    """
    scores: dict[str, float] = {}
    places = np.arange(start, start + len(errors))
    for steps in (1, errors.shape[1]):
        mae = float(np.abs(errors[:, steps - 1]).mean())
        persistence = float(np.abs(values[places + steps - 1] - values[places - 1]).mean())
        scores[f"mae_{steps}"] = mae
        scores[f"mae_{steps}_persistence"] = persistence
        scores[f"skill_{steps}"] = 1 - mae / persistence
    return scores


def coverage(errors: NDArray[np.float64], residuals: ResidualQuantiles, share: float) -> float:
    """The share of true values in the central prediction interval of ``share``, in 0..1."""
    quantiles = np.array(residuals.values)  # [horizon, level, series]
    low, high = (residuals.levels.index(round((1 + sign * share) / 2, 3)) for sign in (-1, 1))
    is_inside = (errors >= quantiles[:, low]) & (errors <= quantiles[:, high])
    return float(is_inside.mean())
