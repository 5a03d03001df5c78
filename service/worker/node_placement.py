"""Which nodes of a graph may run on the CPU when the model runs on a GPU.

ONNX Runtime's provider for CUDA keeps the results of ``Shape`` and ``Size`` in host memory, and
gives the nodes that compute with them (a slice of a shape, a ``Range`` of a length) to the CPU on
purpose: they are a few integers, and a kernel would cost more than the answer. The setting
``session.disable_cpu_ep_fallback`` refuses them as well. So the fallback is allowed, and the nodes
that fell back are judged here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

CPU_PROVIDER = "CPUExecutionProvider"
SHAPE_SOURCES = frozenset({"Shape", "Size"})
SHAPE_OPERATORS = SHAPE_SOURCES | {
    *("Constant", "ConstantOfShape", "Identity", "Cast", "Range", "Expand"),
    *("Gather", "Slice", "Concat", "Split", "Squeeze", "Unsqueeze", "Reshape"),
    *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Min", "Max", "ReduceProd"),
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or", "Where"),
}
"""Operators that compute with shapes. Most can do other work, so they are only allowed in a graph
that has a source of shapes. CUDA has kernels for that other work, so it is not given to the CPU."""


def refused_nodes(placement: Iterable[tuple[str, Sequence[str]]], wanted: str) -> Counter[str]:
    """The nodes that lie elsewhere than on the wanted provider and may not, by operator.

    Args:
        placement: pairs of a provider and the operators of its nodes; a provider may come often.
        wanted: the provider of the device.
    """
    groups = [(provider, list(operators)) for provider, operators in placement]
    has_shapes = any(SHAPE_SOURCES.intersection(operators) for _, operators in groups)
    allowed = SHAPE_OPERATORS if has_shapes else frozenset[str]()
    refused: Counter[str] = Counter()
    for provider, operators in groups:
        if provider == wanted:
            continue
        is_cpu = provider == CPU_PROVIDER
        refused.update(each for each in operators if not is_cpu or each not in allowed)
    return refused
