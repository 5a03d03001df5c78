"""From a trained classifier to a verified artifact, or to an error and nothing else.

::

    network -> head -> graph -> parity -> golden, parity, manifest -> renamed into place
"""

import copy
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from export import parity
from export.destination import Destination, project_commit
from export.errors import ExportError, GraphError, LabelsError, ParityError
from export.graph import OPSET_VERSION, write_graph
from export.head import Classifier
from export.network import Origin
from service.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    Batching,
    ImagePreprocessing,
    Manifest,
    Provenance,
    Task,
    TensorSpec,
    Tolerance,
    check_files,
    sha256_of,
)

RANDOM_ROWS = 4
RANDOM_SEED = 0
DEFAULT_TOLERANCE = Tolerance(atol=1e-4, rtol=1e-3)
PARITY_PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider")


@dataclass(frozen=True)
class ExportSpec:
    """What an artifact shall be, beside the network itself."""

    name: str
    preprocessing: ImagePreprocessing
    labels: tuple[str, ...]
    """One for each class, in the order of the logits."""
    golden: NDArray[np.uint8]
    """``[N, height, width, channels]``, as `export.golden.golden_images` makes them."""
    architecture: str = ""
    origin: Origin = field(default_factory=Origin)
    version: int | None = None
    """None: the one after the newest."""
    max_batch_size: int = 32
    tolerance: Tolerance = DEFAULT_TOLERANCE
    opset_version: int = OPSET_VERSION


def export_classifier(network: nn.Module, spec: ExportSpec, output: Path) -> Path:
    """Write ``output/NAME/VERSION`` after ONNX Runtime has given PyTorch's answers.

    Args:
        network: ``[N, channels, height, width]`` float32, normalised -> ``[N, num_classes]``
            logits. It is copied, and put into evaluation mode and float32 there.
        spec: what the artifact shall be.
        output: the model repository.

    Returns:
        The artifact's directory.

    Raises:
        ExportError: the export was refused; nothing was left behind.
    """
    classifier = Classifier(copy.deepcopy(network), spec.preprocessing).cpu().float().eval()
    golden_scores = check_network(classifier, spec)
    with Destination(output, spec.name, spec.version) as destination:
        folder = destination.partial
        write_classifier(classifier, spec, folder / MODEL_FILE)
        write_parity(classifier, spec, folder)
        np.savez_compressed(folder / GOLDEN_FILE, images=spec.golden, scores=golden_scores)
        manifest = describe(spec, destination.version, folder)
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
        check_files(folder, manifest)
        return destination.publish()


def check_network(classifier: Classifier, spec: ExportSpec) -> NDArray[np.float32]:
    """Ask the network for the golden scores, ``[N, num_classes]``; refuse what cannot be served."""
    shape = (spec.preprocessing.height, spec.preprocessing.width, spec.preprocessing.channels)
    if spec.golden.dtype != np.uint8 or spec.golden.shape[1:] != shape or not len(spec.golden):
        raise GraphError(
            f"golden images are {spec.golden.dtype}{list(spec.golden.shape)}, the network takes"
            f" uint8{[len(spec.golden), *shape]}; make them with golden_images()"
        )
    run_network(classifier, spec.golden[:1])
    scores = run_network(classifier, spec.golden)
    if scores.ndim != 2:
        raise GraphError(f"the network gives logits of shape {scores.shape}, not [N, num_classes]")
    if scores.shape[1] != len(spec.labels):
        raise LabelsError(
            f"the network tells {scores.shape[1]} classes apart and there are {len(spec.labels)}"
            " labels; give one label a class, in the order of training"
        )
    parity.check_finite("the network", scores)
    return scores


def run_network(classifier: Classifier, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """PyTorch's scores ``[N, num_classes]`` of ``[N, H, W, C]``.

    Raises:
        GraphError: the network's own forward fails.
    """
    try:
        with torch.inference_mode():
            return classifier(torch.tensor(images)).numpy()
    except Exception as err:  # someone else's code: whatever it raises is the answer
        reason = str(err).strip().splitlines()[:1] or [type(err).__name__]
        raise GraphError(
            f"the network does not take {len(images)} images of {list(images.shape[1:])}"
            f" ({reason[0]}); check the input size, the channels, and that it works for any number"
        ) from err


def tensor_specs(spec: ExportSpec) -> tuple[TensorSpec, TensorSpec]:
    """The declared input and output."""
    preprocessing = spec.preprocessing
    row = (preprocessing.height, preprocessing.width, preprocessing.channels)
    return (
        TensorSpec(name="images", dtype="uint8", axes=("batch", *row)),
        TensorSpec(name="scores", dtype="float32", axes=("batch", len(spec.labels))),
    )


def write_classifier(classifier: Classifier, spec: ExportSpec, path: Path) -> None:
    """Write the graph."""
    images, scores = tensor_specs(spec)
    example = torch.zeros(2, *images.row_shape, dtype=torch.uint8)
    write_graph(classifier, example, path, images, scores, spec.opset_version)


def write_parity(classifier: Classifier, spec: ExportSpec, folder: Path) -> None:
    """Compare, on each provider of this machine, and write the report."""
    generator = np.random.default_rng(RANDOM_SEED)
    shape = (RANDOM_ROWS, *spec.golden.shape[1:])
    noise = generator.integers(0, 256, shape, dtype=np.uint8)
    inputs = np.concatenate([spec.golden, noise])
    results: list[parity.Comparison] = []
    for provider in PARITY_PROVIDERS:
        if provider in onnxruntime.get_available_providers():
            results += parity.compare(
                lambda images: run_network(classifier, images),
                folder / MODEL_FILE,
                inputs,
                spec.tolerance,
                provider,
            )
    if not results:
        raise ParityError(f"this ONNX Runtime has none of {PARITY_PROVIDERS}; install onnxruntime")
    content = parity.report(results, spec.tolerance, len(spec.golden), RANDOM_ROWS, RANDOM_SEED)
    (folder / PARITY_FILE).write_text(json.dumps(content, indent=2) + "\n")


def describe(spec: ExportSpec, version: int, folder: Path) -> Manifest:
    """The manifest of the files in ``folder``."""
    try:
        return _describe(spec, version, folder)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExportError(f"the manifest cannot say {where}: {first['msg']}; change it") from err


def _describe(spec: ExportSpec, version: int, folder: Path) -> Manifest:
    images, scores = tensor_specs(spec)
    origin = spec.origin
    return Manifest(
        name=spec.name,
        version=version,
        task=Task.CLASSIFICATION,
        architecture=spec.architecture or origin.source,
        inputs=(images,),
        outputs=(scores,),
        preprocessing=spec.preprocessing,
        labels=spec.labels,
        batching=Batching(max_batch_size=spec.max_batch_size),
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
            metrics=dict(origin.metrics),
            exporter=parity.versions(),
        ),
        files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    )
