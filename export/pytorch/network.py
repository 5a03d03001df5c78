"""A network on its way to export, with the preprocessing and labels it was trained with."""

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

# Means and standard deviations of ImageNet's training photographs, as torchvision has them.
IMAGENET_PREPROCESSING = ImagePreprocessing(
    height=224,
    width=224,
    crop_share=0.875,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
)

# The same for whole scenes, of which torchvision's segmenters saw windows of 480 px and are scored
# with a shorter side of 520 px.
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
        # torchvision's shorter side; a photograph of 4:3 fills it but for a strip of 21 px.
        "fasterrcnn_resnet50_fpn": IMAGENET_PREPROCESSING.model_copy(
            update={"height": 800, "width": 1088, "fit": "letterbox", "crop_share": 1.0}
        ),
    }
)
"""What public checkpoints were trained with, by network, where it is not ImageNet's usual."""


@dataclass(frozen=True)
class Network:
    """What a factory may return: weights travel with their preprocessing."""

    module: nn.Module
    """For classification ``[N, channels, height, width]`` float32, normalised ->
    ``[N, num_classes]`` logits; for the other tasks see ``prepare`` in ``export.TASK``."""
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
    """What the user wants of the artifact, beside the network."""

    name: str
    version: int | None = None
    """None: the one after the newest."""
    golden: tuple[Path, ...] = ()
    """Photographs; none for scikit-image's."""
    max_batch_size: int | None = None
    """Most rows in one run; None: what the task can bear, `MAX_BATCH_SIZE` or less."""
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Scores on held-out data, beside those the weights bring along."""


def call_factory(reference: str) -> Network:
    """Import and call a factory.

    Args:
        reference: ``package.module:callable``; it takes nothing and returns a module in which the
            weights are, or a `Network`.

    Raises:
        FactoryError: it cannot be imported or called, or returns something else.
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
    except Exception as err:  # someone else's code: whatever it raises is the answer
        raise FactoryError(f"{reference}() failed with {type(err).__name__}: {err}") from err
    if isinstance(made, nn.Module):
        made = Network(made)
    if not isinstance(made, Network):
        raise FactoryError(
            f"{reference}() returned a {type(made).__name__}; return an nn.Module or an"
            " export.pytorch.network.Network"
        )
    return made
