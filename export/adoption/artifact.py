"""Writing an adopted graph as an artifact, once its inputs and outputs are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.adoption.golden import Recorder
from export.adoption.graph_description import GraphDescription
from export.adoption.graph_runner import Arrays, open_graph, save
from export.adoption.heads.head import Head
from export.adoption.image_input import Finding
from export.adoption.options import AdoptionOptions
from export.artifact.destination import Destination, project_commit
from export.artifact.parity import versions
from service.artifact.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Batching,
    Bucket,
    ImagePreprocessing,
    Manifest,
    Provenance,
    TensorSpec,
    check_files,
    golden_key,
    sha256_of,
)


@dataclass(frozen=True)
class Adopted:
    """An artifact, and what its owner should check."""

    artifact_dir: Path
    manifest: Manifest
    findings: tuple[Finding, ...]
    examples: NDArray[Any]
    """``[N, ...]``, rows of the first input and bucket."""
    answers: Arrays
    """The answers to the examples, ``[N, ...]`` each."""


@dataclass(frozen=True)
class BucketRows:
    """The rows that are recorded at one bucket."""

    bucket: Bucket
    golden: Mapping[str, NDArray[Any]]
    """Real inputs: name -> ``[N, ...]``."""
    probes: Mapping[str, NDArray[Any]]
    """Random inputs; the graph must repeat its answers to these, too."""


@dataclass(frozen=True)
class AdoptedInputs:
    """The inputs of an adopted graph, and how they are made."""

    inputs: tuple[TensorSpec, ...]
    preprocessing: ImagePreprocessing | None
    max_batch_size: int
    is_half: bool
    findings: tuple[Finding, ...]


def write_artifact(
    destination: Destination,
    model: onnx.ModelProto,
    options: AdoptionOptions,
    graph: GraphDescription,
    adopted: AdoptedInputs,
    head: Head,
    parts: Sequence[BucketRows],
) -> Adopted:
    """Record the graph's answers and publish the artifact.

    Raises:
        ExportError: the graph's answers are not reliable.
    """
    folder = destination.partial
    save(model, folder / MODEL_FILE)
    recorder = Recorder(
        open_graph(folder / MODEL_FILE), head.outputs, head.tolerance, adopted.max_batch_size
    )
    answers: list[Arrays] = []
    content: dict[str, NDArray[Any]] = {}
    for part in parts:
        answers.append(recorder.record(part.golden, part.probes, part.bucket))
        tensors = {**part.golden}
        tensors |= {spec.name: rows for spec, rows in zip(head.outputs, answers[-1], strict=True)}
        content |= {golden_key(name, part.bucket): rows for name, rows in tensors.items()}
    recorder.write_parity(folder)
    np.savez_compressed(folder / GOLDEN_FILE, allow_pickle=False, **content)
    buckets = tuple(dict(part.bucket) for part in parts if part.bucket)
    manifest = _manifest(destination, options, graph, adopted, head, buckets)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
    check_files(folder, manifest)
    batch = Finding("batch", f"up to {adopted.max_batch_size}", "checked by running it")
    findings = (*adopted.findings, *head.findings, batch)
    examples = parts[0].golden[adopted.inputs[0].name]
    return Adopted(destination.publish(), manifest, findings, examples, answers[0])


def _manifest(
    destination: Destination,
    options: AdoptionOptions,
    graph: GraphDescription,
    adopted: AdoptedInputs,
    head: Head,
    buckets: tuple[dict[str, int], ...],
) -> Manifest:
    section: dict[str, Any] = {str(options.task): head.section} if head.section else {}
    return Manifest(
        name=options.name,
        version=destination.version,
        task=options.task,
        architecture=graph.metadata.get("description") or options.path.stem,
        inputs=adopted.inputs,
        outputs=head.outputs,
        preprocessing=adopted.preprocessing,
        labels=head.labels,
        batching=Batching(max_batch_size=adopted.max_batch_size),
        buckets=buckets,
        precision="float16" if adopted.is_half else "float32",
        opset_version=max(graph.opset_version, 7),
        tolerance=head.tolerance,
        provenance=Provenance(
            source=f"adopted {options.path.name} ({graph.producer or 'unknown exporter'})",
            weights_sha256=sha256_of(options.path),
            commit=project_commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            licence=options.licence or graph.metadata.get("license", ""),
            metrics=dict(options.metrics),
            golden="recorded",
            exporter=versions(),
        ),
        files={path.name: sha256_of(path) for path in sorted(destination.partial.iterdir())},
        **section,
    )
