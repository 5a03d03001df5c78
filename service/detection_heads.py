"""From what a detector's graph answers for one image to boxes and scores.

The graphs that `export` writes answer with both as they are; other people's have a head of their
own. No threshold is applied here: it belongs to the request (`service.nms`).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.manifest import Manifest

Array = NDArray[Any]


class Candidates(NamedTuple):
    """All that one image may hold."""

    boxes: NDArray[np.float32]
    """``[K, 4]``, ``x1, y1, x2, y2`` in px of the row; one without area is unused."""
    scores: NDArray[np.float32]
    """``[K, num_classes]``, 0..1."""
    masks: NDArray[np.float32] | None = None
    """``[K, h, w]``, 0..1, of the whole row at some smaller size."""
    keypoints: NDArray[np.float32] | None = None
    """``[K, P, 3]``: column and row in px of the row, and a score 0..1."""


Head = Callable[[Sequence[Array], Manifest], Candidates]
"""Takes one image's row of every output, without the batch axis."""


def candidates(outputs: Sequence[Array], manifest: Manifest) -> Candidates:
    """Our own graphs: ``boxes [K, 4]`` and ``scores [K, num_classes]``."""
    del manifest
    boxes, scores = outputs
    return Candidates(boxes, scores)


HEADS: Mapping[str, Head] = MappingProxyType({"candidates": candidates})
"""By the name that `DetectionSection.head` gives."""
