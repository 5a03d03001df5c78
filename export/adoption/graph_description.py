"""What a graph says of itself: its inputs and outputs, and what its exporter wrote beside them."""

import ast
from dataclasses import dataclass
from typing import Any

import onnx

from export.adoption.graph_editor import OLDEST_OPSET, dtype_name, opset_version
from export.errors import AdoptionError

Axes = tuple[int | str, ...]
"""Sizes; a name, or the empty string, where a size is not fixed."""


@dataclass(frozen=True)
class GraphTensor:
    """An input or output as the graph declares it."""

    name: str
    dtype: str
    """Such as ``float32``; ``sequence`` or ``map`` for what is no tensor."""
    elem_type: int
    axes: Axes | None
    """None: the graph does not say how many there are."""

    def __str__(self) -> str:
        """Such as ``images float32[batch, 3, 640, 640]``."""
        axes = "?" if self.axes is None else ", ".join(str(axis) or "?" for axis in self.axes)
        return f"{self.name} {self.dtype}[{axes}]"


@dataclass(frozen=True)
class GraphDescription:
    """What can be read off a graph without running it."""

    inputs: tuple[GraphTensor, ...]
    """Without the weights, which old graphs list among them."""
    outputs: tuple[GraphTensor, ...]
    opset_version: int
    producer: str
    """Such as ``pytorch 2.9.0``; empty if unknown."""
    metadata: dict[str, str]


def inspect_graph(model: onnx.ModelProto) -> GraphDescription:
    """Describe a graph.

    Raises:
        AdoptionError: its opset is too old, or it takes nothing or gives nothing.
    """
    version = opset_version(model)
    if 0 < version < OLDEST_OPSET:
        raise AdoptionError(
            f"the graph is of opset {version} and ONNX Runtime runs {OLDEST_OPSET} and newer;"
            " export it again, or convert it with onnx.version_converter"
        )
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_tensor(each) for each in model.graph.input if each.name not in weights)
    outputs = tuple(_tensor(each) for each in model.graph.output)
    if not inputs or not outputs:
        raise AdoptionError("the graph has no input or no output; there is nothing to ask it")
    return GraphDescription(
        inputs,
        outputs,
        version,
        f"{model.producer_name} {model.producer_version}".strip(),
        {entry.key: entry.value for entry in model.metadata_props},
    )


def literal(metadata: dict[str, str], key: str) -> Any:
    """A metadata value that is written as a Python literal, such as Ultralytics' ``names``."""
    try:
        return ast.literal_eval(metadata.get(key, ""))
    except (ValueError, SyntaxError):
        return None


def _tensor(value: onnx.ValueInfoProto) -> GraphTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return GraphTensor(value.name, str(kind or "?").removesuffix("_type"), 0, None)
    tensor = value.type.tensor_type
    axes = None
    if tensor.HasField("shape"):
        axes = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param
            for dim in tensor.shape.dim
        )
    return GraphTensor(value.name, dtype_name(tensor.elem_type), tensor.elem_type, axes)
