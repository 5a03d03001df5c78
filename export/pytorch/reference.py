"""The network's own answers: the golden outputs, checked against the spec."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from export.artifact import parity
from export.artifact.parity import Outputs
from export.artifact.spec import ArtifactSpec, Rows
from export.errors import GraphError
from service.artifact.manifest import Bucket, golden_key


def golden_rows(module: nn.Module, spec: ArtifactSpec) -> dict[str, NDArray[Any]]:
    """Run the module on the golden inputs; returns the content of ``golden.npz``.

    Raises:
        GraphError: inputs or outputs differ from the spec.
    """
    content: dict[str, NDArray[Any]] = {}
    for bucket, golden in zip(spec.shapes, spec.golden, strict=True):
        inputs = check_inputs(spec, golden, bucket)
        run_module(module, [rows[:1] for rows in inputs])
        outputs = run_module(module, inputs)
        check_outputs(spec, outputs, len(inputs[0]), bucket)
        tensors = zip((*spec.inputs, *spec.outputs), (*inputs, *outputs), strict=True)
        content |= {golden_key(tensor.name, bucket): rows for tensor, rows in tensors}
    return content


def check_inputs(spec: ArtifactSpec, rows: Rows, bucket: Bucket) -> list[NDArray[Any]]:
    """The rows in the order of the inputs.

    Raises:
        GraphError: an input is missing, or has another dtype or shape.
    """
    for tensor in spec.inputs:
        given = rows.get(tensor.name)
        wanted = (tensor.dtype, tensor.row_shape(bucket))
        if given is None or not len(given) or (str(given.dtype), given.shape[1:]) != wanted:
            found = "missing" if given is None else f"{given.dtype}{list(given.shape)}"
            raise GraphError(
                f"the rows of input {tensor.name!r} are {found}, not"
                f" {tensor.dtype}{['N', *wanted[1]]}; make those of images with golden_images()"
            )
    return [rows[tensor.name] for tensor in spec.inputs]


def check_outputs(spec: ArtifactSpec, outputs: Outputs, rows: int, bucket: Bucket) -> None:
    """Compare the module's outputs with the spec.

    Raises:
        GraphError: the number, a dtype or a shape of the outputs differs.
        ParityError: an output is not finite.
    """
    actual = [(str(output.dtype), output.shape) for output in outputs]
    wanted = [(tensor.dtype, (rows, *tensor.row_shape(bucket))) for tensor in spec.outputs]
    if actual != wanted:
        raise GraphError(f"the network answers with {actual}, not with {wanted}")
    parity.check_finite("the network", outputs)


def run_module(module: nn.Module, inputs: Sequence[NDArray[Any]]) -> Outputs:
    """Run the module; returns its outputs.

    Raises:
        GraphError: the module's own forward fails.
    """
    try:
        with torch.inference_mode():
            outputs = module(*[torch.tensor(rows) for rows in inputs])
    except Exception as err:  # someone else's code may raise anything
        reason = str(err).strip().splitlines()[:1] or [type(err).__name__]
        shapes = ", ".join(str(list(rows.shape)) for rows in inputs)
        raise GraphError(
            f"the network does not take {shapes} ({reason[0]}); check the input size, the channels,"
            " and that it takes any number of rows"
        ) from err
    return tuple(each.numpy() for each in ((outputs,) if torch.is_tensor(outputs) else outputs))


def example_rows(spec: ArtifactSpec) -> list[NDArray[Any]]:
    """Two rows of each input, at the last bucket; one row might be taken for a constant."""
    return [spec.golden[-1][tensor.name][[0, -1]] for tensor in spec.inputs]
