"""Tolerances: how far ONNX Runtime's numbers may be from the expected ones, by kind of answer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Tolerance

DEFAULT_TOLERANCE = Tolerance(atol=1e-4, rtol=1e-3)
"""Of scores, 0..1, and of everything that no other tolerance fits."""
HALF_TOLERANCE = Tolerance(atol=5e-3, rtol=1e-2)
"""Of scores from a graph in half precision."""

MASK_TOLERANCE = Tolerance(atol=2, rtol=0, mismatch_share=5e-3)
"""Of masks, in 255 levels. Where two classes are equally likely, the mask may be of either."""

BOX_TOLERANCE = Tolerance(atol=5e-3, rtol=1e-3)
"""Of boxes in px of the input. They are several hundred; a few thousandths of one are rounding."""
PICKED_BOX_TOLERANCE = BOX_TOLERANCE.model_copy(update={"mismatch_share": 0.02})
"""Of networks that pick regions. Where two regions score the same, either may come first."""
HALF_BOX_TOLERANCE = Tolerance(atol=0.5, rtol=2e-2, mismatch_share=0.02)
"""Of boxes from a graph in half precision."""

ADOPTED_SEQUENCE_TOLERANCE = Tolerance(atol=1e-3, rtol=1e-3)
"""Of the answers and states of an adopted sequence graph."""


def is_within(actual: NDArray[Any], expected: NDArray[Any], tolerance: Tolerance) -> bool:
    """Whether enough elements of ``actual`` are close to ``expected``."""
    allowed = tolerance.atol + tolerance.rtol * np.abs(expected)
    return bool((differences(actual, expected) > allowed).mean() <= tolerance.mismatch_share)


def differences(actual: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    """The absolute difference of each element."""
    return np.abs(actual.astype(np.float64) - expected)
