"""Photographs with the things in them marked by boxes: what detectors learn from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BoxedImage:
    """One photograph."""

    name: str
    pixels: NDArray[np.uint8]
    """``[H, W, 3]``, RGB."""
    boxes: NDArray[np.float32]
    """``[M, 4]``, ``x1, y1, x2, y2`` in px, inside the photograph, each of some area."""
    targets: NDArray[np.int64]
    """``[M]``, the class of each box."""
