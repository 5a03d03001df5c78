"""A network to export, with the preprocessing and labels of its training."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel
from torch import nn

from export.artifact.spec import Origin
from export.errors import FactoryError, PreprocessingError
from service.artifact.manifest import ImagePreprocessing, Task

# Means and standard deviations of ImageNet's training images, as in torchvision.
IMAGENET_PREPROCESSING = ImagePreprocessing(
    height=224,
    width=224,
    crop_share=0.875,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
)

# The same for whole scenes. torchvision's segmenters were trained on windows of 480 px and are
# scored with a shorter side of 520 px.
SCENE_PREPROCESSING = IMAGENET_PREPROCESSING.model_copy(
    update={"height": 480, "width": 640, "fit": "pad", "crop_share": 1.0}
)

PUBLIC_PREPROCESSING: Mapping[str, ImagePreprocessing] = MappingProxyType(
    {
        # Trained elsewhere and brought to torchvision, which rescales to -1..1 in its network.
        "googlenet": IMAGENET_PREPROCESSING.model_copy(
            update={"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}
        ),
        "fcn_resnet50": SCENE_PREPROCESSING,
        "fcn_resnet101": SCENE_PREPROCESSING,
        # torchvision's shorter side; an image of 4:3 fills all but a strip of 21 px.
        "fasterrcnn_resnet50_fpn": IMAGENET_PREPROCESSING.model_copy(
            update={"height": 800, "width": 1088, "fit": "letterbox", "crop_share": 1.0}
        ),
    }
)
"""The preprocessing of public checkpoints, by network, where it is not ImageNet's usual one."""


@dataclass(frozen=True)
class Network:
    """A network with its weights and their preprocessing; a factory may return one."""

    module: nn.Module
    """For classification ``[N, channels, height, width]`` float32, normalised ->
    ``[N, num_classes]`` logits; for other tasks see ``prepare`` in ``export.pytorch.heads``."""
    preprocessing: ImagePreprocessing | None = None
    labels: tuple[str, ...] = ()
    architecture: str = ""
    origin: Origin = field(default_factory=Origin)
    task: Task = Task.CLASSIFICATION
    section: BaseModel | None = None
    """The manifest's section of the task: a `SegmentationSection`, `DetectionSection` ..."""

    def known_preprocessing(self, name: str) -> ImagePreprocessing:
        """The preprocessing.

        Raises:
            PreprocessingError: it is unknown.
        """
        if self.preprocessing is None:
            raise PreprocessingError(f"the preprocessing of {name} is unknown")
        return self.preprocessing


MAX_BATCH_SIZE = 32


@dataclass(frozen=True)
class ArtifactOptions:
    """The user's options for an artifact, beside the network."""

    name: str
    version: int | None = None
    """None: one more than the newest version."""
    golden: tuple[Path, ...] = ()
    """Real inputs; empty: the project's own."""
    max_batch_size: int | None = None
    """The largest batch; None: the task's own limit, at most `MAX_BATCH_SIZE`."""
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Scores on held-out data, in addition to those in the weights."""


def call_factory(reference: str) -> Network:
    """Import and call a factory.

    Args:
        reference: ``package.module:callable``; the callable takes nothing and returns a module with
            its weights, or a `Network`.

    Raises:
        FactoryError: the callable cannot be imported or called, or returns something else.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise FactoryError(f"--factory must be package.module:callable, not {reference!r}")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as err:
        raise FactoryError(
            f"{reference} cannot be imported ({err}); run from the folder that holds the package,"
            " or install it"
        ) from err
    try:
        made = factory()
    except Exception as err:  # someone else's code may raise anything
        raise FactoryError(f"{reference}() failed with {type(err).__name__}: {err}") from err
    if isinstance(made, nn.Module):
        made = Network(made)
    if not isinstance(made, Network):
        raise FactoryError(
            f"{reference}() returned a {type(made).__name__}; return an nn.Module or an"
            " export.pytorch.network.Network"
        )
    return made
