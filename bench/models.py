"""The artifacts that are measured: the project's own exporter makes them, once."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.networks import NETWORKS, BenchNetwork
from service.artifact.manifest import MANIFEST_FILE, ImagePreprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODELS_DIR = Path("build/bench-models")
MADE_BY = (
    *(
        "bench/networks.py",
        "bench/models.py",
        "export/pytorch/graph.py",
        "export/pytorch/heads/classification.py",
    ),
    *("export/pytorch/heads/segmentation.py", "export/pytorch/heads/detection.py"),
)
SEED = 0
GOLDEN_ROWS = 4
_MIN_PHOTO_SIDE_PX = 64  # below it, random pixels stand in for photographs


def models_dir(names: tuple[str, ...]) -> Path:
    """The repository with these networks; a new one for each change of the code that makes it."""
    sources = b"".join(Path(file).read_bytes() for file in MADE_BY)
    return MODELS_DIR / hashlib.sha256(sources).hexdigest()[:12] / "-".join(sorted(names))


def artifact_dir(repository: Path, name: str) -> Path:
    """Where the artifact of a network lies."""
    return repository / name / "1"


def make_artifacts(repository: Path, names: tuple[str, ...]) -> None:
    """Export the networks that are missing; the weights are random and always the same."""
    repository.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (artifact_dir(repository, name) / MANIFEST_FILE).exists():
            _export(name, NETWORKS[name], repository)
        if NETWORKS[name].build and not float_network(repository, name).exists():
            _export_float(name, NETWORKS[name], repository)


def float_network(repository: Path, name: str) -> Path:
    """The network alone, as a user exports it: normalised float32 in, logits out."""
    return floats_dir(repository) / f"{name}.onnx"


def floats_dir(repository: Path) -> Path:
    """The networks of the baseline, beside the artifacts."""
    return repository.with_name(f"{repository.name}-float32")


def preprocessing_of(network: BenchNetwork) -> ImagePreprocessing:
    """Shorter side to 256, centre 224, as ImageNet's networks have it; bytes to -1..1."""
    return ImagePreprocessing(
        height=network.height,
        width=network.width,
        channels=network.channels,
        crop_share=0.875,
        mean=(127.5,) * network.channels,
        std=(127.5,) * network.channels,
    )


def _export(name: str, network: BenchNetwork, repository: Path) -> None:
    # Imported late: the servers that are measured must not share a process with torch.
    import torch

    from export.artifact.spec import Origin
    from export.pytorch.exporter import export_module
    from export.pytorch.heads.classification import prepare
    from export.pytorch.network import ArtifactOptions, Network
    from export.pytorch.resolve import NetworkSource, export_source

    if network.build is None:
        options = ArtifactOptions(name, version=1, max_batch_size=network.max_batch_size)
        export_source(NetworkSource(network.shipped), options, repository)
        return
    torch.manual_seed(SEED)
    made = Network(
        network.build(),
        preprocessing_of(network),
        labels=tuple(f"class-{index:04}" for index in range(network.num_classes)),
        architecture=name,
        origin=Origin(source=f"bench.networks:{name}"),
    )
    options = ArtifactOptions(name, version=1, max_batch_size=network.max_batch_size)
    classifier, spec = prepare(made, options)
    golden = ({"images": _golden_rows(network)},)
    export_module(classifier, replace(spec, golden=golden), repository)


def _export_float(name: str, network: BenchNetwork, repository: Path) -> None:
    import torch

    from export.pytorch.graph import write_graph
    from service.artifact.manifest import TensorSpec

    assert network.build is not None
    torch.manual_seed(SEED)
    path = float_network(repository, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    row = (network.channels, network.height, network.width)
    write_graph(
        network.build().eval(),
        [torch.zeros(2, *row)],
        path,
        [TensorSpec(name="pixels", dtype="float32", axes=("batch", *row))],
        [TensorSpec(name="logits", dtype="float32", axes=("batch", network.num_classes))],
    )


def _golden_rows(network: BenchNetwork) -> "NDArray[np.uint8]":
    """Photographs where they fit the network, else random bytes; ``[N, H, W, C]``."""
    if min(network.height, network.width) >= _MIN_PHOTO_SIDE_PX:
        from export.artifact.golden_images import golden_images

        return golden_images([], preprocessing_of(network))
    shape = (GOLDEN_ROWS, network.height, network.width, network.channels)
    return np.random.default_rng(SEED).integers(256, size=shape).astype(np.uint8)
