"""Real inputs of a graph that is served with tensors: arrays in ``.npz`` files, by name."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.adoption.graph_description import GraphTensor
from export.errors import GoldenError

Example = dict[str, NDArray[Any]]
"""Input name -> ``[N, ...]``."""


def read_examples(paths: Sequence[Path], inputs: Sequence[GraphTensor]) -> list[Example]:
    """The rows of all files; rows of the same shapes are joined.

    Raises:
        GoldenError: a file cannot be read, or does not fit the inputs of the graph.
    """
    by_shape: dict[tuple[tuple[int, ...], ...], list[Example]] = {}
    for path in paths:
        example = _read(path, inputs)
        shapes = tuple(rows.shape[1:] for rows in example.values())
        by_shape.setdefault(shapes, []).append(example)
    return [
        {tensor.name: np.concatenate([each[tensor.name] for each in examples]) for tensor in inputs}
        for examples in by_shape.values()
    ]


def _read(path: Path, inputs: Sequence[GraphTensor]) -> Example:
    try:
        with np.load(path, allow_pickle=False) as file:
            content = dict(file)
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as err:
        raise GoldenError(
            f"the example {path} is no file of numpy.savez with one array [N, ...] for each input,"
            " by name"
        ) from err
    names = [tensor.name for tensor in inputs]
    if set(content) != set(names):
        raise GoldenError(f"{path} has the arrays {sorted(content)}; the graph takes {names}")
    for tensor in inputs:
        _check(path, content[tensor.name], tensor)
    counts = {name: len(content[name]) for name in names}
    if len(set(counts.values())) != 1 or not counts[names[0]]:
        raise GoldenError(
            f"{path} has rows {counts}; give the same number for each input, at least one"
        )
    return {name: content[name] for name in names}


def _check(path: Path, rows: NDArray[Any], tensor: GraphTensor) -> None:
    if str(rows.dtype) != tensor.dtype:
        raise GoldenError(
            f"{tensor.name!r} is {rows.dtype} in {path}, and the graph takes {tensor}; save it with"
            f" .astype({tensor.dtype!r})"
        )
    axes = tensor.axes
    wanted = rows.shape[1:] if axes is None else axes[1:]
    if (
        not rows.ndim
        or len(rows.shape[1:]) != len(wanted)
        or any(
            isinstance(size, int) and size != actual
            for size, actual in zip(wanted, rows.shape[1:], strict=True)
        )
    ):
        raise GoldenError(
            f"{tensor.name!r} is {list(rows.shape)} in {path}, and the graph takes {tensor}"
        )
