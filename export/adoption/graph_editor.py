"""Adding nodes to a graph in its own opset, before and after its own nodes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.artifact.manifest import TensorSpec

OLDEST_OPSET = 7
"""The oldest opset that ONNX Runtime runs."""


class GraphEditor:
    """Writes nodes in the form of the graph's opset, under names that are free.

    Every method that writes a node returns the name of its output. Nodes are kept in ``nodes``
    until ``put_in_front`` or ``append`` places them. Constants are nodes and not initializers,
    because graphs of IR version 3 must list initializers as inputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self.opset_version = opset_version(model)
        self.nodes: list[NodeProto] = []
        self._taken = set(_names_of(model.graph))

    def fresh(self, stem: str) -> str:
        """``stem``, with a number if a tensor of the graph has that name."""
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    def uses(self, *kinds: str) -> bool:
        """Whether the graph, or a subgraph, has one of these operators."""
        return any(kind in kinds for kind in _kinds_of(self.graph))

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Write a node with one output."""
        output = output or self.fresh(f"sightline_{kind.lower()}")
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        """Write a constant."""
        return self.node("Constant", (), value=numpy_helper.from_array(np.asarray(value)))

    def cast(self, tensor: str, to: int, output: str = "") -> str:
        """Convert to a ``TensorProto`` data type."""
        return self.node("Cast", [tensor], output, to=to)

    def squeeze(self, tensor: str, axis: int) -> str:
        """Remove an axis of size 1."""
        return self._with_axes("Squeeze", tensor, axis, since=13)

    def unsqueeze(self, tensor: str, axis: int) -> str:
        """Add an axis of size 1."""
        return self._with_axes("Unsqueeze", tensor, axis, since=13)

    def reduce(self, kind: str, tensor: str, axis: int, *, keepdims: bool) -> str:
        """``ReduceMax``, ``ReduceSum`` ... along one axis."""
        since = 13 if kind == "ReduceSum" else 18
        return self._with_axes(kind, tensor, axis, since, keepdims=int(keepdims))

    def slice(self, tensor: str, start: int, stop: int, axis: int) -> str:
        """``tensor[start:stop]`` along one axis."""
        if self.opset_version < 10:
            return self.node("Slice", [tensor], starts=[start], ends=[stop], axes=[axis])
        bounds = [self.constant(np.array([each], np.int64)) for each in (start, stop, axis)]
        return self.node("Slice", [tensor, *bounds])

    def put_in_front(self) -> None:
        """Place the written nodes before all others."""
        rest = list(self.graph.node)
        del self.graph.node[:]
        self.graph.node.extend([*self.nodes, *rest])
        self.nodes = []

    def append(self) -> None:
        """Place the written nodes after all others."""
        self.graph.node.extend(self.nodes)
        self.nodes = []

    def remove_input(self, name: str) -> None:
        """Remove an input; a node must make its tensor instead."""
        kept = [each for each in self.graph.input if each.name != name]
        del self.graph.input[:]
        self.graph.input.extend(kept)

    def answer_with(self, outputs: Sequence[TensorSpec]) -> None:
        """Place the written nodes, and make these tensors the only outputs."""
        self.append()
        del self.graph.output[:]
        for spec in outputs:
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
            self.graph.output.append(helper.make_tensor_value_info(spec.name, dtype, spec.axes))

    def _with_axes(self, kind: str, tensor: str, axis: int, since: int, **attributes: Any) -> str:
        """A node whose axes are an attribute before opset ``since`` and an input from then on."""
        if self.opset_version < since:
            return self.node(kind, [tensor], axes=[axis], **attributes)
        return self.node(kind, [tensor, self.constant(np.array([axis], np.int64))], **attributes)


def opset_version(model: onnx.ModelProto) -> int:
    """The opset of ONNX's own operators; 0 if the graph uses none."""
    return next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)


def dtype_name(elem_type: int) -> str:
    """Such as ``float32``; ``string`` where numpy has none."""
    if elem_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return TensorProto.DataType.Name(elem_type).lower()
    return str(helper.tensor_dtype_to_np_dtype(elem_type))


def _names_of(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.value_info))
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _names_of(subgraph)


def _kinds_of(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _kinds_of(subgraph)
