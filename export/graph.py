"""PyTorch -> one ONNX file, and the checks that the file is what the manifest will declare."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import onnx
import torch
from onnx import TensorProto
from torch import nn
from torch.onnx import OnnxExporterError

from export.errors import GraphError
from service.manifest import TensorSpec

OPSET_VERSION = 20
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
    example: torch.Tensor,
    path: Path,
    input_spec: TensorSpec,
    output_spec: TensorSpec,
    opset_version: int = OPSET_VERSION,
) -> None:
    """Export a module of one input and one output, with a dynamic first axis called ``batch``.

    Args:
        module: in evaluation mode, on the CPU.
        example: an input of two rows; one row would invite the tracer to take 1 for a constant.
        path: the ``.onnx`` file; weights lie inside it.
        input_spec: the declared input.
        output_spec: the declared output.
        opset_version: the ONNX operator set.

    Raises:
        GraphError: the network cannot be traced, or the graph is not the declared one.
    """
    check_size(module)
    try:
        with silenced():
            torch.onnx.export(
                module,
                (example,),
                path,
                dynamo=True,
                input_names=[input_spec.name],
                output_names=[output_spec.name],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=opset_version,
                external_data=False,
                verbose=False,
            )
    except OnnxExporterError as err:
        raise GraphError(explain(err)) from err
    check_graph(path, input_spec, output_spec, opset_version)


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
    path: Path, input_spec: TensorSpec, output_spec: TensorSpec, opset_version: int
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
    check_tensors("input", list(model.graph.input), input_spec)
    check_tensors("output", list(model.graph.output), output_spec)


def check_tensors(kind: str, values: list[onnx.ValueInfoProto], spec: TensorSpec) -> None:
    """Hold the only input or output of a graph to its declaration."""
    if [value.name for value in values] != [spec.name]:
        names = [value.name for value in values]
        raise GraphError(f"the graph's {kind}s are {names}, not [{spec.name!r}]; return one tensor")
    tensor = values[0].type.tensor_type
    axes = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    if tensor.elem_type != _DTYPES[spec.dtype]:
        dtype = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise GraphError(f"the graph's {kind} {spec.name!r} is {dtype}, not {spec.dtype}")
    if axes[:1] != ("batch",):
        raise GraphError(
            f"the batch axis is frozen: the graph's {kind} {spec.name!r} is {axes}; keep the"
            " number of images out of the network's reshapes"
        )
    if axes != spec.axes:
        raise GraphError(f"the graph's {kind} {spec.name!r} is {axes}, not {spec.axes}")
