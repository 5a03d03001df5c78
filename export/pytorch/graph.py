"""PyTorch -> one ONNX file, and the checks that it is what the manifest will declare."""

import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto
from torch import nn
from torch.onnx import OnnxExporterError

from export.errors import GraphError
from export.opset import OPSET_VERSION
from service.artifact.manifest import TensorSpec

MAX_BYTES = 2**31 - 1  # of one protobuf message

_DTYPES = {
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
}


def write_graph(
    module: nn.Module,
    examples: Sequence[torch.Tensor],
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    opset_version: int = OPSET_VERSION,
) -> None:
    """Export a module; each named axis of the declared inputs is dynamic and keeps its name.

    Args:
        module: in evaluation mode, on the CPU.
        examples: an array for each input. No named axis may have size 1, because the tracer might
            take that for a constant.
        path: the ``.onnx`` file, with the weights inside.
        inputs: the declared inputs.
        outputs: the declared outputs.
        opset_version: the ONNX operator set.

    Raises:
        GraphError: the network cannot be traced, or the graph differs from its declaration.
    """
    check_size(module)
    try:
        with silenced():
            torch.onnx.export(
                module,
                tuple(examples),
                path,
                dynamo=True,
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                dynamic_shapes=as_arguments(module, dynamic_axes(inputs)),
                opset_version=opset_version,
                external_data=False,
                verbose=False,
            )
    except OnnxExporterError as err:
        raise GraphError(explain(err)) from err
    check_graph(path, inputs, outputs, opset_version)


def dynamic_axes(inputs: Sequence[TensorSpec]) -> tuple[dict[int, Any], ...]:
    """The varying axes of each input; axes of one name have one size."""
    names = {axis for spec in inputs for axis in spec.axes if isinstance(axis, str)}
    dims = {name: torch.export.Dim(name) for name in names}
    return tuple(
        {index: dims[axis] for index, axis in enumerate(spec.axes) if isinstance(axis, str)}
        for spec in inputs
    )


def as_arguments(module: nn.Module, axes: tuple[dict[int, Any], ...]) -> tuple[Any, ...]:
    """The axes in the form of torch.export: those of ``*args`` are one tuple."""
    parameters = inspect.signature(module.forward).parameters.values()
    named = sum(each.kind is not inspect.Parameter.VAR_POSITIONAL for each in parameters)
    rest = axes[named:]
    return (*axes[:named], rest) if rest else axes


def check_size(module: nn.Module) -> None:
    """Refuse weights that are too large for one ONNX file."""
    size_bytes = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size_bytes > MAX_BYTES:
        raise GraphError(
            f"the weights take {size_bytes / 2**30:.1f} GiB and one ONNX file holds at most 2 GiB;"
            " export a smaller network"
        )


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress what the exporter prints: deprecations, missing packages, whole graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def explain(err: OnnxExporterError) -> str:
    """The exporter's long message as one sentence."""
    root: BaseException = err
    while root.__cause__ is not None:
        root = root.__cause__
    reason = str(root).strip().splitlines()[:1] or [type(root).__name__]
    return (
        f"the network cannot be exported: {reason[0]}; remove control flow that depends on values"
        " from its forward"
    )


def check_graph(
    path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], opset_version: int
) -> None:
    """Compare a graph with its declaration.

    Raises:
        GraphError: another name, dtype, axis or opset, or invalid ONNX.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as err:
        raise GraphError(f"the exporter wrote an invalid graph: {err}") from err
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    if opsets.get("", 0) != opset_version:
        raise GraphError(f"the graph has opset {opsets}, not {opset_version}; choose another opset")
    check_tensors("input", list(model.graph.input), inputs)
    check_tensors("output", list(model.graph.output), outputs)


def check_tensors(
    kind: str, values: Sequence[onnx.ValueInfoProto], specs: Sequence[TensorSpec]
) -> None:
    """Compare the inputs or outputs of a graph with their declaration."""
    actual, wanted = [value.name for value in values], [spec.name for spec in specs]
    if actual != wanted:
        raise GraphError(f"the graph's {kind}s are {actual}, not {wanted}")
    for value, spec in zip(values, specs, strict=True):
        check_tensor(f"the graph's {kind} {spec.name!r}", value.type.tensor_type, spec)


def check_tensor(name: str, tensor: onnx.TypeProto.Tensor, spec: TensorSpec) -> None:
    """Compare one input or output with its declaration."""
    axes = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    if tensor.elem_type != _DTYPES[spec.dtype]:
        dtype = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise GraphError(f"{name} is {dtype}, not {spec.dtype}")
    if axes[:1] != ("batch",):
        raise GraphError(
            f"the batch axis is fixed: {name} is {axes}; do not use the number of rows in the"
            " network's reshapes"
        )
    if axes != spec.axes:
        raise GraphError(f"{name} is {axes}, not {spec.axes}")
