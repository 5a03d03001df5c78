"""The adoption of graphs that take images: classifiers, segmenters, detectors."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import InferenceSession

from export.adoption.artifact import Adopted, AdoptedInputs, BucketRows, write_artifact
from export.adoption.graph_description import GraphDescription
from export.adoption.graph_editor import GraphEditor
from export.adoption.graph_runner import Answer, open_probe, run
from export.adoption.heads import classification, detection, segmentation
from export.adoption.heads.head import Head, read_owner_labels
from export.adoption.image_input import Finding, propose_image_input
from export.adoption.input_nodes import freeze_inputs, take_images
from export.adoption.options import AdoptionOptions
from export.adoption.zipmap import unzip_maps
from export.artifact.destination import Destination
from export.artifact.golden_images import golden_images, noise_images
from export.errors import AdoptionError
from service.artifact.manifest import Bucket, Task, TensorSpec

DEFAULT_BATCH_SIZE = 8
"""For graphs that take any number of rows; an answer may have megabytes per row."""


class ImageAdoption:
    """The adoption of one graph that takes images."""

    def __init__(
        self, model: onnx.ModelProto, graph: GraphDescription, options: AdoptionOptions
    ) -> None:
        self._options = options
        self._graph = graph
        self._image_input = propose_image_input(graph, options)
        self._zipmap = unzip_maps(model)
        self._editor = GraphEditor(model)
        self._is_fixed = len(self._image_input.sizes) == 1
        base = self._image_input.preprocessing
        self._sizes = [
            base.model_copy(update={"height": height, "width": width})
            for height, width in self._image_input.sizes
        ]
        self._buckets: tuple[Bucket, ...] = tuple(
            {} if self._is_fixed else {"height": each.height, "width": each.width}
            for each in self._sizes
        )
        self._golden = [golden_images(options.examples, each) for each in self._sizes]

    def write(self, destination: Destination) -> Adopted:
        """Write the artifact."""
        folder = destination.partial
        freeze_inputs(self._editor, self._graph, self._options.frozen)
        images = take_images(self._editor, self._image_input, not self._is_fixed)
        head = self._finish(self._try_graph(folder, images))
        parts = [
            BucketRows(bucket, {images.name: golden}, {images.name: noise_images(size, 2)})
            for size, bucket, golden in zip(self._sizes, self._buckets, self._golden, strict=True)
        ]
        description = AdoptedInputs(
            (images,),
            self._image_input.preprocessing,
            self._max_batch_size(head),
            self._image_input.tensor.dtype == "float16",
            self._image_input.findings,
        )
        return write_artifact(
            destination, self._editor.model, self._options, self._graph, description, head, parts
        )

    def _try_graph(self, folder: Path, images: TensorSpec) -> list[Answer]:
        """The graph's answers to the examples, to noise and to a black image, one at a time."""
        session = self._open_probe(folder)
        outputs = session.get_outputs()
        rows = [
            *self._golden[0],
            *noise_images(self._sizes[0], 1),
            np.zeros_like(self._golden[0][0]),
        ]
        runs = [run(session, {images.name: row[None]}) for row in rows]
        return [
            Answer(output.name, tuple(arrays), tuple(output.shape))
            for output, arrays in zip(outputs, zip(*runs, strict=True), strict=True)
            if all(isinstance(array, np.ndarray) for array in arrays)
        ]

    def _open_probe(self, folder: Path) -> InferenceSession:
        try:
            return open_probe(self._editor.model, folder)
        except AdoptionError as err:
            axes = self._image_input.tensor.axes
            if axes is not None and all(isinstance(axis, int) for axis in axes[1:]):
                raise
            height, width = self._image_input.sizes[0]
            raise AdoptionError(
                f"{err}; this was at {height}x{width} px. If {self._image_input.tensor} takes only"
                " one size, give the right --size"
            ) from err

    def _finish(self, answers: Sequence[Answer]) -> Head:
        options = self._options
        keys = self._zipmap.labels if self._zipmap else ()
        labels, why = read_owner_labels(options.labels, self._graph.metadata, keys)
        match options.task:
            case Task.CLASSIFICATION:
                head = classification.finish(self._editor, answers, labels, options.head)
            case Task.SEGMENTATION:
                size = self._image_input.sizes[0]
                head = segmentation.finish(
                    self._editor, answers, labels, options.head, size, self._is_fixed
                )
            case Task.DETECTION:
                size, metadata = self._image_input.sizes[0], self._graph.metadata
                head = detection.finish(self._editor, answers, labels, options.head, size, metadata)
            case _:
                raise AdoptionError(f"{options.task} models cannot be adopted")
        shown = f"{len(labels)}: {', '.join(labels[:4])}{' ...' if len(labels) > 4 else ''}"
        return replace(head, findings=(*head.findings, Finding("labels", shown, why)))

    def _max_batch_size(self, head: Head) -> int:
        is_free = self._image_input.has_free_batch and head.max_batch_size != 1
        default = head.max_batch_size or DEFAULT_BATCH_SIZE
        return self._options.batch_size("image", default, is_free=is_free)
