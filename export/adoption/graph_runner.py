"""Running an adopted graph with ONNX Runtime."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from export.adoption.onnx_file import MAX_PROTOBUF_BYTES
from export.errors import AdoptionError

_NOISE = (
    (r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", ""),
    (r"Load model from \S+ failed:\s*", ""),
    (r"Non-zero status code returned while running (\w+) node\..*?Status Message: ", r"\1: "),
    (r"\S*/onnxruntime/\S+ (\S+ )?|\S+::\S+\(.*?\) ", ""),
)
"""Parts of ONNX Runtime's messages that do not help a reader."""

Arrays = Sequence[NDArray[Any]]
Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Answer:
    """One output of the graph, for a few inputs."""

    name: str
    rows: tuple[NDArray[Any], ...]
    """The output for each input, run one at a time."""
    axes: tuple[int | str | None, ...] = ()
    """The shape that ONNX Runtime infers."""

    @property
    def shapes(self) -> set[tuple[int, ...]]:
        """The shapes that were seen."""
        return {row.shape for row in self.rows}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first row."""
        return self.rows[0].shape

    def __str__(self) -> str:
        """Such as ``output0 float32[1, 84, 8400]``."""
        return f"{self.name} {self.rows[0].dtype}{list(self.shape)}"


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; its external weights are beside it already.

    Raises:
        AdoptionError: the graph alone is too large for one protobuf.
    """
    size_bytes = model.ByteSize()
    if size_bytes > MAX_PROTOBUF_BYTES:
        raise AdoptionError(
            "with the nodes that adoption adds, the graph is larger than a protobuf of 2 GiB; save"
            " its weights beside it: onnx.save_model(..., save_as_external_data=True)"
        )
    path.write_bytes(model.SerializeToString())


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU.

    Raises:
        AdoptionError: ONNX Runtime does not load it, with the reason.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as err:  # its exceptions have no common base but this
        raise AdoptionError(f"ONNX Runtime cannot load the graph: {condensed(err)}") from err


def open_probe(model: onnx.ModelProto, folder: Path) -> onnxruntime.InferenceSession:
    """Open a graph that is not finished; its file is in ``folder`` until it is open.

    Raises:
        AdoptionError: see `save` and `open_graph`.
    """
    probe = folder / "probe.onnx"
    save(model, probe)
    try:
        return open_graph(probe)
    finally:
        probe.unlink()


def run(session: onnxruntime.InferenceSession, feeds: Feeds) -> list[Any]:
    """Run the graph once; returns all outputs.

    Raises:
        AdoptionError: the run failed.
    """
    try:
        return list(session.run(None, dict(feeds)))
    except Exception as err:  # its exceptions have no common base but this
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
        raise AdoptionError(f"the graph does not run on {shapes}: {condensed(err)}") from err


def condensed(err: Exception) -> str:
    """ONNX Runtime's message in one line, without its noise."""
    text = " ".join(str(err).split())
    if missing := re.search(r"(\S+?)\(?-?\d*\)? is not a registered function/op", text):
        return f"it has no operator {missing[1]}; export the graph without that operator"
    if missing := re.search(r"No Op registered for (\S+) with domain_version of (\d+)", text):
        return (
            f"it has no operator {missing[1]} in version {missing[2]} of its set; export the graph"
            " without it, or to another opset"
        )
    if newer := re.search(r"opset (\d+) is under development.*?opset (\d+)", text):
        return f"the graph is of opset {newer[1]}, and it runs up to {newer[2]}; export it to that"
    for pattern, instead in _NOISE:
        text = re.sub(pattern, instead, text)
    return text if len(text) <= 200 else text[:200] + " ..."


def check_answers(names: Sequence[str], outputs: Arrays) -> None:
    """Refuse NaN and infinity.

    Raises:
        AdoptionError: an output holds NaN or infinity.
    """
    for name, output in zip(names, outputs, strict=True):
        if np.issubdtype(output.dtype, np.floating) and not np.isfinite(output).all():
            raise AdoptionError(
                f"the output {name!r} holds NaN or infinity; check --scale, --mean and --std, and"
                " whether half precision overflows"
            )
