"""Requests of the Open Inference Protocol: checked against a manifest, and converted to arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest, TensorSpec
from service.frontend.errors import InvalidInput
from service.ipc.slot_layout import Variant
from sightline.inference import grpc_predict_v2_pb2 as pb

Array = NDArray[Any]

DATATYPES = {
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
}
"""The protocol's names of the manifest's dtypes."""
_FIELDS = {
    "uint8": "uint_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "float32": "fp32_contents",
}
"""The fields for values that are not raw; the protocol has no field for FP16."""
_INSTEAD = {
    "sequence_": "use SequenceService for a model with a state",
    "shared_memory_": "send the values in the request",
    "classification": "leave it out; the answer has all scores",
    "priority": "leave it out; the call with the earliest deadline runs first",
    "timeout": "leave it out and give the call a deadline",
    "binary_data_output": "leave it out; the answer is raw where the request is",
}
"""Parameters that other servers support, by the start of their names, and what to do instead. They
are refused, not ignored: the answer would differ from what the client asks for."""
_MAX_SHOWN = 128  # characters of a client's text, in an error
_BYTE_MAX = 255


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """A checked request."""

    inputs: tuple[Array, ...]
    """``[N, ...]`` each, in the manifest's order; raw tensors are views of the request."""
    variant: Variant
    outputs: tuple[TensorSpec, ...]
    """The requested outputs, in the order of the answer."""
    is_raw: bool
    """Whether the answer is raw, too."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.inputs[0])


def read_request(request: pb.ModelInferRequest, manifest: Manifest, max_rows: int) -> TensorRequest:
    """Check everything that can be checked before the model runs.

    Args:
        request: from the client.
        manifest: of the requested model.
        max_rows: the server's limit.

    Raises:
        InvalidInput: what is wrong, and what the model takes.
    """
    _refuse_parameters(request)
    numbers = _numbers_of_inputs(request, manifest)
    is_raw = _is_raw(request)
    tensors = [request.inputs[number] for number in numbers]
    rows = _count_rows(tensors, max_rows)
    bucket = _find_bucket(tensors, manifest)
    arrays: list[Array] = []
    for number, tensor, spec in zip(numbers, tensors, manifest.inputs, strict=True):
        _check_datatype(tensor, spec)
        shape = (rows, *spec.row_shape(manifest.shapes[bucket]))
        if is_raw:
            arrays.append(_from_raw(request.raw_input_contents[number], spec, shape))
        else:
            arrays.append(_from_contents(tensor.contents, spec, shape))
    outputs = _wanted_outputs(request, manifest)
    variant = Variant(bucket, any(spec.on_request for spec in outputs))
    is_half = any(spec.dtype == "float16" for spec in outputs)
    return TensorRequest(tuple(arrays), variant, outputs, is_raw or is_half)


def add_output(
    response: pb.ModelInferResponse, spec: TensorSpec, rows: Array, *, is_raw: bool
) -> None:
    """Append one output ``[N, ...]`` to an answer."""
    output = response.outputs.add(
        name=spec.name, datatype=DATATYPES[spec.dtype], shape=list(rows.shape)
    )
    if is_raw:
        response.raw_output_contents.append(rows.astype(_little(spec), copy=False).tobytes())
    else:
        getattr(output.contents, _FIELDS[spec.dtype]).extend(rows.reshape(-1).tolist())


def _refuse_parameters(request: pb.ModelInferRequest) -> None:
    holders: Iterable[Any] = (request, *request.inputs, *request.outputs)
    for holder in holders:
        for name in holder.parameters:
            for start, instead in _INSTEAD.items():
                if name.startswith(start):
                    raise InvalidInput(
                        f"the parameter {_shown(name)} is not supported here: {instead}"
                    )


def _numbers_of_inputs(request: pb.ModelInferRequest, manifest: Manifest) -> list[int]:
    """For each input of the model, its number in the request."""
    names = [tensor.name for tensor in request.inputs]
    known = [spec.name for spec in manifest.inputs]
    for name in names:
        if name not in known:
            raise InvalidInput(f"the model has no input {_shown(name)}; it takes {known}")
    for name in known:
        if names.count(name) != 1:
            raise InvalidInput(
                f"the request has the input {name!r} {names.count(name)} times; give each of"
                f" {known} once"
            )
    return [names.index(name) for name in known]


def _is_raw(request: pb.ModelInferRequest) -> bool:
    given = len(request.raw_input_contents)
    if not given:
        return False
    if any(tensor.HasField("contents") for tensor in request.inputs):
        raise InvalidInput(
            "the request has both raw_input_contents and contents; send one or the other"
        )
    if given != len(request.inputs):
        raise InvalidInput(
            f"raw_input_contents has {given} entries for {len(request.inputs)} inputs; send one"
            " entry for each input, in the same order"
        )
    return True


def _count_rows(tensors: Sequence[Any], max_rows: int) -> int:
    counts = {tensor.shape[0] if tensor.shape else 0 for tensor in tensors}
    if len(counts) != 1:
        raise InvalidInput(
            f"the inputs have {sorted(counts)} rows; their first axis must be the same"
        )
    (rows,) = counts
    if not 1 <= rows <= max_rows:
        raise InvalidInput(f"a request holds 1 to {max_rows} rows, this one {rows}; split it")
    return rows


def _find_bucket(tensors: Sequence[Any], manifest: Manifest) -> int:
    """The number of the rows' shape among the manifest's shapes."""
    given = [tuple(tensor.shape)[1:] for tensor in tensors]
    declared = [[spec.row_shape(bucket) for spec in manifest.inputs] for bucket in manifest.shapes]
    if given in declared:
        return declared.index(given)
    names = [spec.name for spec in manifest.inputs]
    expected = " or ".join(_shapes_in_words(names, shapes) for shapes in declared[:4])
    more = f" or one of {len(declared) - 4} others" if len(declared) > 4 else ""
    actual = _shapes_in_words(names, given)[:_MAX_SHOWN]
    raise InvalidInput(f"the model takes {expected}{more}, and this request has {actual}")


def _shapes_in_words(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(
        f"{name} [{', '.join(['N', *map(str, shape)])}]"
        for name, shape in zip(names, shapes, strict=True)
    )


def _check_datatype(tensor: Any, spec: TensorSpec) -> None:
    if tensor.datatype != DATATYPES[spec.dtype]:
        raise InvalidInput(
            f"the input {spec.name!r} is {DATATYPES[spec.dtype]}, not {_shown(tensor.datatype)}"
        )


def _from_raw(raw: bytes, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    dtype = _little(spec)
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(raw) != expected:
        raise InvalidInput(
            f"the input {spec.name!r} has {len(raw)} bytes; {DATATYPES[spec.dtype]} {list(shape)}"
            f" has {expected}"
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def _from_contents(
    contents: pb.InferTensorContents, spec: TensorSpec, shape: tuple[int, ...]
) -> Array:
    wanted = _FIELDS.get(spec.dtype)
    if wanted is None:
        raise InvalidInput(
            f"the input {spec.name!r} is FP16, which is possible only in raw_input_contents"
        )
    filled = [field.name for field, _ in contents.ListFields() if field.name != wanted]
    if filled:
        raise InvalidInput(
            f"the values of {spec.name!r} belong in contents.{wanted}, not {filled[0]}"
        )
    values: Any = getattr(contents, wanted)
    expected = int(np.prod(shape, dtype=np.int64))
    if len(values) != expected:
        raise InvalidInput(
            f"the input {spec.name!r} has {len(values)} values; {list(shape)} has {expected}"
        )
    if spec.dtype == "uint8" and max(values, default=0) > _BYTE_MAX:
        raise InvalidInput(f"the input {spec.name!r} is UINT8: its values are 0 to {_BYTE_MAX}")
    return np.array(values, spec.dtype).reshape(shape)


def _wanted_outputs(request: pb.ModelInferRequest, manifest: Manifest) -> tuple[TensorSpec, ...]:
    if not request.outputs:
        return manifest.outputs_of(with_optional=False)
    known = {spec.name: spec for spec in manifest.outputs}
    names = [output.name for output in request.outputs]
    for name in names:
        if name not in known:
            raise InvalidInput(
                f"the model has no output {_shown(name)}; it answers with {list(known)}"
            )
        if names.count(name) > 1:
            raise InvalidInput(f"the request names the output {name!r} twice; name it once")
    return tuple(known[name] for name in names)


def _little(spec: TensorSpec) -> np.dtype[Any]:
    return np.dtype(spec.dtype).newbyteorder("<")


def _shown(text: str) -> str:
    return repr(text[:_MAX_SHOWN])
