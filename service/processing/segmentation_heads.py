"""Heads of segmenters: from a graph's outputs for one image to mask and confidence."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest

Array = NDArray[Any]


class Planes(NamedTuple):
    """The class of each pixel of a row."""

    mask: NDArray[np.uint8]
    """``[h, w]``, class indices."""
    confidence: NDArray[np.uint8] | None
    """``[h, w]``, the probability of that class in 0..255; None where the graph has none."""
    scores: NDArray[np.uint8] | None
    """``[num_classes, h, w]``, the probability of each class in 0..255; only on request,
    and only if the graph has it."""


Head = Callable[[Sequence[Array], Manifest], Planes]
"""Takes one image's row of every output, without the batch axis."""


def mask(outputs: Sequence[Array], manifest: Manifest) -> Planes:
    """``mask [h, w]``; ``confidence [h, w]`` if the graph has it; on request ``scores``, too."""
    del manifest
    confidence = outputs[1] if len(outputs) > 1 else None
    scores = outputs[2] if len(outputs) > 2 else None
    return Planes(outputs[0], confidence, scores)


HEADS: Mapping[str, Head] = MappingProxyType({"mask": mask})
"""By name, as `SegmentationSection.head` gives it."""
