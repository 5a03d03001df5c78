"""From a trained network to a verified artifact, or to an error and nothing else.

::

    module -> graph -> parity -> golden, parity, manifest -> rename into place

The module is a network *with its deployment head*. Its inputs are what the server has, such as
pixels or tokens; its outputs are a few small arrays. ``export.pytorch.heads`` makes it from a
`Network`.
"""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from pydantic import ValidationError
from torch import nn

from export.artifact import parity
from export.artifact.destination import Destination, project_commit
from export.artifact.spec import ArtifactSpec
from export.errors import ExportError, ParityError, first_problem
from export.pytorch.graph import write_graph
from export.pytorch.reference import check_inputs, example_rows, golden_rows, run_module
from service.artifact.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    Batching,
    Manifest,
    Provenance,
    check_files,
    sha256_of,
)

PARITY_PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider")


def export_module(module: nn.Module, spec: ArtifactSpec, output: Path) -> Path:
    """Write ``output/NAME/VERSION`` after ONNX Runtime has given PyTorch's answers.

    Args:
        module: from the inputs of ``spec`` to its outputs, a tensor or a tuple of tensors. It is
            copied, and the copy is put into evaluation mode and float32.
        spec: of the artifact.
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


def write_parity(module: nn.Module, spec: ArtifactSpec, folder: Path) -> None:
    """Compare on each provider of this machine, at every bucket, and write ``parity.json``."""
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
        where, reason = first_problem(err)
        raise ExportError(f"the manifest cannot hold {where}: {reason}; change it") from err


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
