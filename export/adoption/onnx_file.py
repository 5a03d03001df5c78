"""Reading someone else's ONNX file, which is not trusted.

Weights are never loaded. Weights inside the file stay in its protobuf. Weights beside the file are
copied.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from export.errors import AdoptionError

MAX_PROTOBUF_BYTES = 2**31 - 1
WEIGHTS_FILE = "model.onnx.data"
"""The file of an artifact for weights outside ``model.onnx``."""
_ALIGNMENT = 4096
"""ONNX Runtime maps external weights into memory in pages of this size."""


def read_model(path: Path) -> onnx.ModelProto:
    """Read a graph; external weights stay where they are.

    Raises:
        AdoptionError: the file cannot be read, is empty or too large, or is not ONNX.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes == 0:
            raise AdoptionError(f"{path} is empty (0 bytes); copy or download it again")
        if size_bytes > MAX_PROTOBUF_BYTES:
            raise AdoptionError(
                f"{path} has {size_bytes / 2**30:.1f} GiB and one protobuf holds at most 2 GiB; it"
                " is damaged or not ONNX. Larger models keep their weights beside the graph:"
                " onnx.save_model(..., save_as_external_data=True)"
            )
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as err:
        raise AdoptionError(f"{path} cannot be read: {err.strerror}") from err
    except DecodeError as err:
        raise AdoptionError(f"{path} is no ONNX file: it is not one protobuf message") from err
    if not (model.ir_version and model.graph.node and model.opset_import):
        raise AdoptionError(f"{path} is no ONNX model; it has no graph, no opset or no IR version")
    return model


def copy_external_weights(model: onnx.ModelProto, path: Path, folder: Path) -> None:
    """Copy all weights beside a graph into one file, and let the graph point to it.

    Args:
        model: is changed.
        path: the graph's own file.
        folder: gets ``WEIGHTS_FILE`` if there are external weights.

    Raises:
        AdoptionError: a location is outside the graph's folder, or a file is missing or too short.
    """
    by_location: dict[str, list[TensorProto]] = {}
    for tensor in tensors_of(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            by_location.setdefault(_external(tensor).get("location", ""), []).append(tensor)
    sources = {location: _find(location, path) for location in by_location}
    if not by_location:
        return
    with (folder / WEIGHTS_FILE).open("wb") as weights:
        for location, tensors in sorted(by_location.items()):
            base = -(-weights.tell() // _ALIGNMENT) * _ALIGNMENT
            size_bytes = sources[location].stat().st_size
            for tensor in tensors:
                _point_to(tensor, base, size_bytes)
            weights.seek(base)
            with sources[location].open("rb") as source:
                shutil.copyfileobj(source, weights, 16 << 20)


def tensors_of(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model, including subgraphs, functions and attributes."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterator[onnx.NodeProto] | object) -> Iterator[TensorProto]:
    for node in nodes:  # pyright: ignore[reportGeneralTypeIssues]
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors_of_graph(graph)


def _external(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _find(location: str, path: Path) -> Path:
    """The file of a location, which must be in the folder of the graph.

    A download cache may hold links; the graph and its weights are then together where the links
    lead.
    """
    parts = Path(location).parts
    if not parts or Path(location).is_absolute() or ".." in parts or "\\" in location:
        raise AdoptionError(
            f"{path} keeps weights at {location!r}, outside its own folder, so it could read any"
            " file here; save the model again with its weights beside it"
        )
    found = path.parent / location
    if not found.is_file():
        raise AdoptionError(
            f"{path} keeps weights in {location!r} and there is no such file beside it; copy that"
            " file there"
        )
    folders = (path.parent.resolve(), path.resolve().parent)
    if not any(found.resolve().is_relative_to(folder) for folder in folders):
        raise AdoptionError(
            f"{path} keeps weights in {location!r}, a link to {found.resolve()} outside its own"
            " folder; put the file itself there"
        )
    return found


def _point_to(tensor: TensorProto, base: int, size_bytes: int) -> None:
    """Let a tensor point to ``WEIGHTS_FILE``, ``base`` bytes further on."""
    entries = _external(tensor)
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or size_bytes - offset)
    except ValueError as err:
        raise AdoptionError(
            f"the weights {tensor.name!r} have an offset or length that is no number"
        ) from err
    if offset < 0 or length < 0 or offset + length > size_bytes:
        raise AdoptionError(
            f"the weights {tensor.name!r} should lie at bytes {offset:,} to {offset + length:,} of"
            f" {entries['location']!r}, which has {size_bytes:,}; copy that file again"
        )
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS_FILE), ("offset", base + offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
