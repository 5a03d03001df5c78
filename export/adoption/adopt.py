"""From someone else's ONNX file to an artifact, or to an error and nothing else.

::

    read -> inspect -> prefix -> look at its answers -> head -> record -> renamed into place
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from export.adoption import classification, detection, segmentation
from export.adoption.editor import GraphEditor
from export.adoption.head import Head, read_owner_labels
from export.adoption.inspect import GraphDescription, inspect_graph
from export.adoption.pictures_in import Finding, propose_pictures_in
from export.adoption.prefix import freeze, take_pictures
from export.adoption.record import Recorder
from export.adoption.runs import Answer, Arrays, open_graph, run, save
from export.adoption.source import copy_external_weights, read_model
from export.adoption.wishes import Wishes
from export.adoption.zipmap import unzip_maps
from export.destination import Destination, project_commit
from export.errors import AdoptionError, GoldenError
from export.golden import golden_images, noise_images
from export.parity import versions
from service.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Batching,
    Bucket,
    Manifest,
    Provenance,
    Task,
    TensorSpec,
    check_files,
    golden_key,
    sha256_of,
)

DEFAULT_BATCH_SIZE = 8
"""Where the graph takes any: adopted graphs may answer with megabytes a row."""


@dataclass(frozen=True)
class Adopted:
    """An artifact, and what its owner should look at."""

    artifact_dir: Path
    manifest: Manifest
    findings: tuple[Finding, ...]
    examples: NDArray[np.uint8]
    """``[N, H, W, C]``, rows of the first bucket."""
    answers: Arrays
    """``[N, ...]`` each, of the examples."""


def adopt(wishes: Wishes, output: Path) -> Adopted:
    """Write ``output/NAME/VERSION``.

    Raises:
        ExportError: the file cannot be adopted; nothing was left behind.
    """
    if not wishes.examples:
        raise GoldenError("give --example FILE: a real input, whose answer becomes the golden one")
    model = read_model(wishes.path)
    graph = inspect_graph(model)
    with Destination(output, wishes.name, wishes.version) as destination:
        copy_external_weights(model, wishes.path, destination.partial)
        return _Pictures(model, graph, wishes).write(destination)


class _Pictures:
    """The adoption of a graph that reads pictures."""

    def __init__(self, model: onnx.ModelProto, graph: GraphDescription, wishes: Wishes) -> None:
        self._wishes = wishes
        self._graph = graph
        self._pictures = propose_pictures_in(graph, wishes)
        self._zipmap = unzip_maps(model)
        self._editor = GraphEditor(model)
        self._is_fixed = len(self._pictures.sizes) == 1
        base = self._pictures.preprocessing
        self._sizes = [
            base.model_copy(update={"height": height, "width": width})
            for height, width in self._pictures.sizes
        ]
        self._buckets: tuple[Bucket, ...] = tuple(
            {} if self._is_fixed else {"height": each.height, "width": each.width}
            for each in self._sizes
        )
        self._golden = [golden_images(wishes.examples, each) for each in self._sizes]

    def write(self, destination: Destination) -> Adopted:
        """Everything, into its place."""
        folder = destination.partial
        by_name = {tensor.name: tensor for tensor in self._graph.inputs}
        for name, values in self._wishes.frozen.items():
            if name not in by_name:
                raise AdoptionError(f"--freeze {name}: the graph has only {', '.join(by_name)}")
            freeze(self._editor, by_name[name], values)
        images = take_pictures(self._editor, self._pictures, not self._is_fixed)
        head = self._finish(self._look(folder, images))
        save(self._editor.model, folder / MODEL_FILE)
        max_batch_size = self._max_batch_size(head)
        session = open_graph(folder / MODEL_FILE)
        recorder = Recorder(session, head.outputs, head.tolerance, max_batch_size)
        answers: list[Arrays] = []
        content: dict[str, NDArray[Any]] = {}
        for size, bucket, golden in zip(self._sizes, self._buckets, self._golden, strict=True):
            probes = {images.name: noise_images(size, 2)}
            answers.append(recorder.record({images.name: golden}, probes, bucket))
            tensors = zip((images, *head.outputs), (golden, *answers[-1]), strict=True)
            content |= {golden_key(spec.name, bucket): rows for spec, rows in tensors}
        recorder.write_parity(folder)
        np.savez_compressed(folder / GOLDEN_FILE, allow_pickle=False, **content)
        manifest = self._manifest(destination, images, head, max_batch_size)
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
        check_files(folder, manifest)
        findings = (*self._pictures.findings, *head.findings)
        findings += (Finding("batch", f"up to {max_batch_size}", "proved by running it"),)
        return Adopted(destination.publish(), manifest, findings, self._golden[0], answers[0])

    def _look(self, folder: Path, images: TensorSpec) -> list[Answer]:
        """What the graph answers for the examples, for noise and for black, one at a time."""
        probe = folder / "probe.onnx"
        save(self._editor.model, probe)
        session = self._open_probe(probe)
        outputs = session.get_outputs()
        rows = [
            *self._golden[0],
            *noise_images(self._sizes[0], 1),
            np.zeros_like(self._golden[0][0]),
        ]
        runs = [run(session, {images.name: row[None]}) for row in rows]
        probe.unlink()
        return [
            Answer(output.name, tuple(arrays), tuple(output.shape))
            for output, arrays in zip(outputs, zip(*runs, strict=True), strict=True)
            if all(isinstance(array, np.ndarray) for array in arrays)
        ]

    def _open_probe(self, probe: Path) -> InferenceSession:
        try:
            return open_graph(probe)
        except AdoptionError as err:
            axes = self._pictures.tensor.axes
            if axes is not None and all(isinstance(axis, int) for axis in axes[1:]):
                raise
            height, width = self._pictures.sizes[0]
            raise AdoptionError(
                f"{err}; this is at {height}x{width} px: if its sides are not as free as"
                f" {self._pictures.tensor} seems, give the right --size"
            ) from err

    def _finish(self, answers: Sequence[Answer]) -> Head:
        wishes = self._wishes
        keys = self._zipmap.labels if self._zipmap else ()
        labels, why = read_owner_labels(wishes.labels, self._graph.metadata, keys)
        match wishes.task:
            case Task.CLASSIFICATION:
                head = classification.finish(self._editor, answers, labels, wishes.head)
            case Task.SEGMENTATION:
                size = self._pictures.sizes[0]
                head = segmentation.finish(
                    self._editor, answers, labels, wishes.head, size, self._is_fixed
                )
            case Task.DETECTION:
                size, metadata = self._pictures.sizes[0], self._graph.metadata
                head = detection.finish(self._editor, answers, labels, wishes.head, size, metadata)
            case _:
                raise AdoptionError(f"{wishes.task} models cannot be adopted")
        shown = f"{len(labels)}: {', '.join(labels[:4])}{' ...' if len(labels) > 4 else ''}"
        return replace(head, findings=(*head.findings, Finding("labels", shown, why)))

    def _max_batch_size(self, head: Head) -> int:
        wish = self._wishes.max_batch_size
        if not self._pictures.has_free_batch or head.max_batch_size == 1:
            if wish not in (None, 1):
                raise AdoptionError(
                    f"the graph takes one image at a time, so not --max-batch-size {wish}"
                )
            return 1
        return wish or head.max_batch_size or DEFAULT_BATCH_SIZE

    def _manifest(
        self, destination: Destination, images: TensorSpec, head: Head, max_batch_size: int
    ) -> Manifest:
        wishes = self._wishes
        section: dict[str, Any] = {str(wishes.task): head.section} if head.section else {}
        is_half = self._pictures.tensor.dtype == "float16"
        return Manifest(
            name=wishes.name,
            version=destination.version,
            task=wishes.task,
            architecture=self._graph.metadata.get("description") or wishes.path.stem,
            inputs=(images,),
            outputs=head.outputs,
            preprocessing=self._pictures.preprocessing,
            labels=head.labels,
            batching=Batching(max_batch_size=max_batch_size),
            buckets=() if self._is_fixed else tuple(map(dict, self._buckets)),
            precision="float16" if is_half else "float32",
            opset_version=max(self._graph.opset_version, 7),
            tolerance=head.tolerance,
            provenance=Provenance(
                source=f"adopted {wishes.path.name} ({self._graph.producer or 'unknown exporter'})",
                weights_sha256=sha256_of(wishes.path),
                commit=project_commit(),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                licence=wishes.licence or self._graph.metadata.get("license", ""),
                metrics=dict(wishes.metrics),
                golden="recorded",
                exporter=versions(),
            ),
            files={path.name: sha256_of(path) for path in sorted(destination.partial.iterdir())},
            **section,
        )
