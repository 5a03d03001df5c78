"""PyTorch -> one ONNX file, and the checks that the file is what the manifest will declare."""

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
    """Export a module; each axis that the declared inputs name is dynamic, and bears that name.

    Args:
        module: in evaluation mode, on the CPU.
        examples: an array for each input; no named axis of size 1, which the tracer might take for
            a constant.
        path: the ``.onnx`` file; weights lie inside it.
        inputs: the declared inputs.
        outputs: the declared outputs.
        opset_version: the ONNX operator set.

    Raises:
        GraphError: the network cannot be traced, or the graph is not the declared one.
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
    """For each input: the axes that vary; those of one name are of one size."""
    names = {axis for spec in inputs for axis in spec.axes if isinstance(axis, str)}
    dims = {name: torch.export.Dim(name) for name in names}
    return tuple(
        {index: dims[axis] for index, axis in enumerate(spec.axes) if isinstance(axis, str)}
        for spec in inputs
    )


def as_arguments(module: nn.Module, axes: tuple[dict[int, Any], ...]) -> tuple[Any, ...]:
    """The axes as torch.export wants them: those of ``*args`` are a tuple of their own."""
    parameters = inspect.signature(module.forward).parameters.values()
    named = sum(each.kind is not inspect.Parameter.VAR_POSITIONAL for each in parameters)
    rest = axes[named:]
    return (*axes[:named], rest) if rest else axes


def check_size(module: nn.Module) -> None:
    """Refuse weights that one ONNX file cannot hold."""
    size_bytes = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size_bytes > MAX_BYTES:
        raise GraphError(
            f"the weights take {size_bytes / 2**30:.1f} GiB and one ONNX file holds at most 2 GiB;"
            " export a smaller network"
        )


@contextmanager
def silenced() -> Iterator[None]:
    """Keep back what the exporter prints: its deprecations, absent packages, whole graphs."""
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
    """One sentence for what the exporter says in a page."""
    root: BaseException = err
    while root.__cause__ is not None:
        root = root.__cause__
    reason = str(root).strip().splitlines()[:1] or [type(root).__name__]
    return (
        f"the network cannot be exported: {reason[0]}; its forward must be free of control flow"
        " that depends on values"
    )


def check_graph(
    path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], opset_version: int
) -> None:
    """Hold a graph to its declaration.

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
        raise GraphError(f"the graph is of opset {opsets}, not {opset_version}; choose another one")
    check_tensors("input", list(model.graph.input), inputs)
    check_tensors("output", list(model.graph.output), outputs)


def check_tensors(
    kind: str, values: Sequence[onnx.ValueInfoProto], specs: Sequence[TensorSpec]
) -> None:
    """Hold the inputs or outputs of a graph to their declaration."""
    actual, wanted = [value.name for value in values], [spec.name for spec in specs]
    if actual != wanted:
        raise GraphError(f"the graph's {kind}s are {actual}, not {wanted}")
    for value, spec in zip(values, specs, strict=True):
        check_tensor(f"the graph's {kind} {spec.name!r}", value.type.tensor_type, spec)


def check_tensor(name: str, tensor: onnx.TypeProto.Tensor, spec: TensorSpec) -> None:
    """Hold one of them to its declaration."""
    axes = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    if tensor.elem_type != _DTYPES[spec.dtype]:
        dtype = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise GraphError(f"{name} is {dtype}, not {spec.dtype}")
    if axes[:1] != ("batch",):
        raise GraphError(
            f"the batch axis is frozen: {name} is {axes}; keep the number of rows out of the"
            " network's reshapes"
        )
    if axes != spec.axes:
        raise GraphError(f"{name} is {axes}, not {spec.axes}")
