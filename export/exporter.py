"""From a trained network to a verified artifact, or to an error and nothing else.

::

    module -> graph -> parity -> golden, parity, manifest -> renamed into place

The module is a network *with its deployment head*, in the terms of its task: what the server has
goes in (pixels, tokens), a few small arrays come out. ``export.classification``,
``export.segmentation``, ``export.detection`` and ``export.sequence`` make it from a `Network`.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import nn

from export import parity
from export.destination import Destination, project_commit
from export.errors import ExportError, GraphError, ParityError
from export.graph import OPSET_VERSION, write_graph
from export.network import Origin
from export.parity import Agreement, Outputs
from service.manifest import (
    FIXED,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    Batching,
    Bucket,
    ImagePreprocessing,
    Manifest,
    Provenance,
    Task,
    TensorSpec,
    Tolerance,
    check_files,
    golden_key,
    sha256_of,
)

DEFAULT_TOLERANCE = Tolerance(atol=1e-4, rtol=1e-3)
PARITY_PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider")

Rows = Mapping[str, NDArray[Any]]
"""Input name -> ``[N, ...]``."""


@dataclass(frozen=True)
class ArtifactSpec:
    """What an artifact shall be, beside the module itself."""

    name: str
    task: Task
    inputs: tuple[TensorSpec, ...]
    """In the order in which the module takes them."""
    outputs: tuple[TensorSpec, ...]
    """In the order in which the module returns them."""
    golden: tuple[Rows, ...]
    """Real inputs, for each bucket; they are written down with PyTorch's answers."""
    probes: tuple[Rows, ...]
    """Random inputs, for each bucket, on which PyTorch and ONNX Runtime must agree, too."""
    agreement: Agreement
    """The task's answer, and in which share of the rows it must be the same."""
    buckets: tuple[Bucket, ...] = ()
    """Sizes of the named axes; empty: no axis but the batch varies."""
    labels: tuple[str, ...] = ()
    preprocessing: ImagePreprocessing | None = None
    section: BaseModel | None = None
    """The manifest's section of this task."""
    architecture: str = ""
    origin: Origin = field(default_factory=Origin)
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Scores on held-out data, beside the origin's."""
    version: int | None = None
    """None: the one after the newest."""
    max_batch_size: int = 32
    tolerance: Tolerance = DEFAULT_TOLERANCE
    opset_version: int = OPSET_VERSION

    @property
    def shapes(self) -> tuple[Bucket, ...]:
        """The buckets; without any, `FIXED` alone."""
        return self.buckets or (FIXED,)


def export_module(module: nn.Module, spec: ArtifactSpec, output: Path) -> Path:
    """Write ``output/NAME/VERSION`` after ONNX Runtime has given PyTorch's answers.

    Args:
        module: the inputs of ``spec`` -> its outputs, a tensor or a tuple of them. It is copied,
            and put into evaluation mode and float32 there.
        spec: what the artifact shall be.
        output: the model repository.

    Returns:
        The artifact's directory.

    Raises:
        ExportError: the export was refused; nothing was left behind.
    """
    module = copy.deepcopy(module).cpu().float().eval()
    golden = golden_rows(module, spec)
    with Destination(output, spec.name, spec.version) as destination:
        folder = destination.partial
        examples = [torch.from_numpy(rows) for rows in example_rows(spec)]
        write_graph(
            module, examples, folder / MODEL_FILE, spec.inputs, spec.outputs, spec.opset_version
        )
        write_parity(module, spec, folder)
        np.savez_compressed(folder / GOLDEN_FILE, allow_pickle=False, **golden)
        manifest = describe(spec, destination.version, folder)
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
        check_files(folder, manifest)
        return destination.publish()


def golden_rows(module: nn.Module, spec: ArtifactSpec) -> dict[str, NDArray[Any]]:
    """Ask the module for the golden outputs; the content of ``golden.npz``.

    Raises:
        GraphError: inputs or outputs are not those of the spec.
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
                f" {tensor.dtype}{['N', *wanted[1]]}; golden_images() makes those of images"
            )
    return [rows[tensor.name] for tensor in spec.inputs]


def check_outputs(spec: ArtifactSpec, outputs: Outputs, rows: int, bucket: Bucket) -> None:
    """Hold what the module returned to the spec.

    Raises:
        GraphError: another number of outputs, or another dtype or shape.
        ParityError: an output is not finite.
    """
    actual = [(str(output.dtype), output.shape) for output in outputs]
    wanted = [(tensor.dtype, (rows, *tensor.row_shape(bucket))) for tensor in spec.outputs]
    if actual != wanted:
        raise GraphError(f"the network answers with {actual}, not with {wanted}")
    parity.check_finite("the network", outputs)


def run_module(module: nn.Module, inputs: Sequence[NDArray[Any]]) -> Outputs:
    """PyTorch's outputs.

    Raises:
        GraphError: the module's own forward fails.
    """
    try:
        with torch.inference_mode():
            outputs = module(*[torch.tensor(rows) for rows in inputs])
    except Exception as err:  # someone else's code: whatever it raises is the answer
        reason = str(err).strip().splitlines()[:1] or [type(err).__name__]
        shapes = ", ".join(str(list(rows.shape)) for rows in inputs)
        raise GraphError(
            f"the network does not take {shapes} ({reason[0]}); check the input size, the channels,"
            " and that it works for any number"
        ) from err
    return tuple(each.numpy() for each in ((outputs,) if torch.is_tensor(outputs) else outputs))


def example_rows(spec: ArtifactSpec) -> list[NDArray[Any]]:
    """Two rows of each input, of the last bucket; a size of 1 might be taken for a constant."""
    return [spec.golden[-1][tensor.name][[0, -1]] for tensor in spec.inputs]


def write_parity(module: nn.Module, spec: ArtifactSpec, folder: Path) -> None:
    """Compare, on each provider of this machine, at every bucket, and write the report."""
    results: list[parity.Comparison] = []
    for provider in PARITY_PROVIDERS:
        if provider not in onnxruntime.get_available_providers():
            continue
        session = parity.open_session(folder / MODEL_FILE, provider)
        for bucket, golden, probes in zip(spec.shapes, spec.golden, spec.probes, strict=True):
            inputs = [
                np.concatenate(pair)
                for pair in zip(
                    check_inputs(spec, golden, bucket),
                    check_inputs(spec, probes, bucket),
                    strict=True,
                )
            ]
            results += parity.compare(
                lambda rows: run_module(module, rows),
                session,
                inputs,
                spec.tolerance,
                spec.agreement,
                (provider, bucket),
            )
    if not results:
        raise ParityError(f"this ONNX Runtime has none of {PARITY_PROVIDERS}; install onnxruntime")
    content = parity.report(
        results,
        spec.tolerance,
        golden=sum(len(rows[spec.inputs[0].name]) for rows in spec.golden),
        random=sum(len(rows[spec.inputs[0].name]) for rows in spec.probes),
    )
    (folder / PARITY_FILE).write_text(json.dumps(content, indent=2) + "\n")


def describe(spec: ArtifactSpec, version: int, folder: Path) -> Manifest:
    """The manifest of the files in ``folder``."""
    try:
        return _describe(spec, version, folder)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExportError(f"the manifest cannot say {where}: {first['msg']}; change it") from err


def _describe(spec: ArtifactSpec, version: int, folder: Path) -> Manifest:
    origin = spec.origin
    section = {str(spec.task): spec.section} if spec.section else {}
    return Manifest(
        name=spec.name,
        version=version,
        task=spec.task,
        architecture=spec.architecture or origin.source,
        inputs=spec.inputs,
        outputs=spec.outputs,
        preprocessing=spec.preprocessing,
        labels=spec.labels,
        batching=Batching(max_batch_size=spec.max_batch_size),
        buckets=tuple(dict(bucket) for bucket in spec.buckets),
        precision="float32",
        opset_version=spec.opset_version,
        tolerance=spec.tolerance,
        provenance=Provenance(
            source=origin.source,
            weights_sha256=origin.weights_sha256,
            commit=project_commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            data=origin.data,
            licence=origin.licence,
            metrics={**origin.metrics, **spec.metrics},
            exporter=parity.versions(),
        ),
        files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
        **section,  # pyright: ignore[reportArgumentType]
    )
