"""Images with boxes around their objects: the training data of detectors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BoxedImage:
    """One image with its boxes."""

    name: str
    pixels: NDArray[np.uint8]
    """``[H, W, 3]``, RGB."""
    boxes: NDArray[np.float32]
    """``[M, 4]``, ``x1, y1, x2, y2`` in px, inside the image, each with some area."""
    targets: NDArray[np.int64]
    """``[M]``, the class of each box."""
