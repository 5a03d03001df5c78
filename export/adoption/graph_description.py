"""What a graph declares: its inputs and outputs, and its exporter's metadata."""

import ast
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import onnx

from export.adoption.graph_editor import OLDEST_OPSET, dtype_name, opset_version
from export.errors import AdoptionError

Axes = tuple[int | str, ...]
"""The size of each axis; a name, or the empty string, where the size is free."""


@dataclass(frozen=True)
class GraphTensor:
    """An input or output as the graph declares it."""

    name: str
    dtype: str
    """Such as ``float32``; ``sequence`` or ``map`` where it is not a tensor."""
    elem_type: int
    axes: Axes | None
    """None: the graph does not declare its axes."""

    def __str__(self) -> str:
        """Such as ``images float32[batch, 3, 640, 640]``."""
        axes = "?" if self.axes is None else ", ".join(str(axis) or "?" for axis in self.axes)
        return f"{self.name} {self.dtype}[{axes}]"


@dataclass(frozen=True)
class GraphDescription:
    """What is known about a graph without running it."""

    inputs: tuple[GraphTensor, ...]
    """Without the weights, which old graphs list as inputs."""
    outputs: tuple[GraphTensor, ...]
    opset_version: int
    producer: str
    """Such as ``pytorch 2.9.0``; empty if unknown."""
    metadata: dict[str, str]

    def inputs_without(self, names: Collection[str]) -> list[GraphTensor]:
        """The inputs that have other names."""
        return [tensor for tensor in self.inputs if tensor.name not in names]


def describe_graph(model: onnx.ModelProto) -> GraphDescription:
    """Describe a graph.

    Raises:
        AdoptionError: the opset is too old, or there is no input or no output.
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
        raise AdoptionError("the graph has no input or no output")
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
