"""The adoption of graphs that fit no head: they are served with tensors, unchanged.

No node is added before or after the graph. The examples say the sizes of its free axes: each shape
becomes a bucket.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from export.adoption.artifact import Adopted, AdoptedInputs, BucketRows, write_artifact
from export.adoption.graph_description import GraphDescription, GraphTensor
from export.adoption.graph_editor import GraphEditor
from export.adoption.graph_runner import open_probe, run
from export.adoption.heads.head import Head
from export.adoption.image_input import Finding
from export.adoption.image_models import DEFAULT_BATCH_SIZE
from export.adoption.input_nodes import freeze_inputs
from export.adoption.options import AdoptionOptions
from export.adoption.tensor_examples import Example, read_examples
from export.artifact.destination import Destination
from export.artifact.tolerances import DEFAULT_TOLERANCE, HALF_TOLERANCE
from export.errors import AdoptionError
from service.artifact.manifest import TensorSpec

_SERVABLE = get_args(TensorSpec.model_fields["dtype"].annotation)
_MEANINGLESS = (
    *("--labels", "--head", "--layout", "--colours", "--scale", "--mean", "--std", "--size"),
    *("--fit", "--crop-share", "--state", "--frame", "--overlap"),
)


@dataclass(frozen=True)
class _Seen:
    """A tensor, and the shapes of its rows."""

    name: str
    dtype: Any
    declared: tuple[int | str, ...]
    """The axes that the graph declares; empty if it declares none."""
    row_shapes: tuple[tuple[int, ...], ...]
    """The shape of a row, for each bucket."""


class TensorAdoption:
    """The adoption of one graph that is served with tensors."""

    def __init__(
        self, model: onnx.ModelProto, graph: GraphDescription, options: AdoptionOptions
    ) -> None:
        options.refuse(_MEANINGLESS, "--task tensors")
        self._graph, self._options = graph, options
        self._editor = GraphEditor(model)
        self._inputs = graph.inputs_without(options.frozen)
        if not self._inputs:
            raise AdoptionError("every input is frozen; leave one for requests")
        for tensor in self._inputs:
            _check_input(tensor)
        self._examples = read_examples(options.examples, self._inputs)
        self._parts = [(each, _perturbed(each)) for each in self._examples]

    def write(self, destination: Destination) -> Adopted:
        """Write the artifact."""
        freeze_inputs(self._editor, self._graph, self._options.frozen)
        taken = [
            _Seen(
                tensor.name,
                tensor.dtype,
                tensor.axes or (),
                tuple(example[tensor.name].shape[1:] for example in self._examples),
            )
            for tensor in self._inputs
        ]
        answered = self._try_graph(destination)
        specs, buckets = _specify([*taken, *answered])
        inputs, outputs = specs[: len(taken)], specs[len(taken) :]
        is_half = any(spec.dtype == "float16" for spec in specs)
        head = Head(
            "tensors",
            outputs,
            (),
            HALF_TOLERANCE if is_half else DEFAULT_TOLERANCE,
            findings=tuple(_finding("output", spec, "its answer") for spec in outputs),
        )
        findings = tuple(_finding("input", spec, "the graph and the examples") for spec in inputs)
        description = AdoptedInputs(inputs, None, self._max_batch_size(), is_half, findings)
        parts = [
            BucketRows(bucket, *part) for bucket, part in zip(buckets, self._parts, strict=True)
        ]
        return write_artifact(
            destination, self._editor.model, self._options, self._graph, description, head, parts
        )

    def _try_graph(self, destination: Destination) -> list[_Seen]:
        """The graph's outputs, row by row, for each bucket."""
        session = open_probe(self._editor.model, destination.partial)
        runs = [
            [
                run(session, {name: rows[row : row + 1] for name, rows in rows_of.items()})
                for rows_of in part
                for row in range(len(next(iter(rows_of.values()))))
            ]
            for part in self._parts
        ]
        declared = {tensor.name: tensor.axes or () for tensor in self._graph.outputs}
        return [
            _seen(
                output.name, declared[output.name], [[row[number] for row in one] for one in runs]
            )
            for number, output in enumerate(session.get_outputs())
        ]

    def _max_batch_size(self) -> int:
        is_free = all(
            tensor.axes is None or isinstance(tensor.axes[0], str) for tensor in self._inputs
        )
        return self._options.batch_size("row", DEFAULT_BATCH_SIZE, is_free=is_free)


def _check_input(tensor: GraphTensor) -> None:
    _check_dtype(str(tensor), tensor.dtype)
    if tensor.axes == ():
        raise AdoptionError(
            f"the input {tensor} has no batch axis; freeze it: --freeze {tensor.name}=VALUE"
        )
    if tensor.axes and isinstance(tensor.axes[0], int) and tensor.axes[0] != 1:
        raise AdoptionError(
            f"the first axis of {tensor} must be the batch, free or 1; export the graph so, or"
            f" freeze the input with --freeze {tensor.name}=VALUE,VALUE"
        )


def _check_dtype(what: str, dtype: str) -> None:
    if dtype not in _SERVABLE:
        raise AdoptionError(f"{what} is not of {', '.join(_SERVABLE)}; put a Cast into the graph")


def _seen(name: str, declared: tuple[int | str, ...], buckets: Sequence[Sequence[Any]]) -> _Seen:
    """An output; all rows of a bucket must have the same shape."""
    row_shapes: list[tuple[int, ...]] = []
    for arrays in buckets:
        for array in arrays:
            _check_dtype(f"the output {name}", str(getattr(array, "dtype", type(array).__name__)))
            if array.shape[:1] != (1,):
                raise AdoptionError(
                    f"the output {name} is {list(array.shape)} for one row: its first axis is not"
                    " the batch; export the graph with the batch first"
                )
        shapes = {array.shape[1:] for array in arrays}
        if len(shapes) != 1:
            raise AdoptionError(
                f"the output {name} is {' or '.join(map(str, sorted(shapes)))} for inputs of one"
                " shape; pad it in the graph"
            )
        row_shapes.append(shapes.pop())
    return _Seen(name, str(buckets[0][0].dtype), declared, tuple(row_shapes))


def _specify(
    tensors: Sequence[_Seen],
) -> tuple[tuple[TensorSpec, ...], list[dict[str, int]]]:
    """The manifest's specs of all tensors, and the sizes of the axes that differ."""
    buckets: list[dict[str, int]] = [{} for _ in tensors[0].row_shapes]
    specs: list[TensorSpec] = []
    for tensor in tensors:
        for one, other in pairwise(tensor.row_shapes):
            if len(one) != len(other):
                raise AdoptionError(
                    f"{tensor.name} has {len(one)} axes in one example, {len(other)} in another"
                )
        axes: list[str | int] = ["batch"]
        for place, sizes in enumerate(zip(*tensor.row_shapes, strict=True), 1):
            if len(set(sizes)) == 1:
                axes.append(sizes[0])
                continue
            name = _axis_name(tensor, place, sizes, buckets)
            axes.append(name)
            for bucket, size in zip(buckets, sizes, strict=True):
                bucket[name] = size
        specs.append(TensorSpec(name=tensor.name, dtype=tensor.dtype, axes=tuple(axes)))
    return tuple(specs), buckets


def _axis_name(
    tensor: _Seen, place: int, sizes: Sequence[int], buckets: Sequence[dict[str, int]]
) -> str:
    """The graph's name for the axis, unless an axis of other sizes has that name."""
    name = tensor.declared[place] if place < len(tensor.declared) else ""
    known = [bucket.get(str(name)) for bucket in buckets]
    if (
        isinstance(name, str)
        and name not in ("", "batch")
        and known in ([None] * len(known), [*sizes])
    ):
        return name
    return f"{tensor.name}_{place}"


def _perturbed(example: Example) -> Example:
    """The rows in reverse order, floats halved: valid inputs with other answers."""
    return {
        name: (rows[::-1] * rows.dtype.type(0.5) if _is_float(rows) else rows[::-1].copy())
        for name, rows in example.items()
    }


def _is_float(rows: NDArray[Any]) -> bool:
    return np.issubdtype(rows.dtype, np.floating)


def _finding(what: str, spec: TensorSpec, why: str) -> Finding:
    return Finding(what, f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.axes))}]", why)
