"""From the pixels of an image to the network's size: crop, turn upright and resize in one pass.

The training transform weights every pixel with a stretched triangle (or cubic) filter. That costs
more than decoding the image, so it is approximated, in up to three steps that all run as vector
code: average whole blocks until the ratio is under 2, smooth a little (from a ratio of 1.5), and
interpolate. ADR 0003 has the measurements and the tolerance. Masks and boxes need exact borders, so
they use the slower `resample_exactly`.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.artifact.manifest import ImagePreprocessing
from service.processing.placement import place

# One image uses one thread: requests already run in parallel, and more threads for each image would
# compete with them. OpenCV applies this to the whole process.
cv2.setNumThreads(1)

_PILLOW_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

# Orientation -> whether x and y are swapped; whether the stored x, and y, run backwards.
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a stored image that the network sees, in px, and the size to resize it to.

    All values are in the stored image's own directions; ``orientation`` says how to turn it
    upright.
    """

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int
    orientation: int

    @property
    def ratios(self) -> tuple[float, float]:
        """How many px of the image become one px, across and down."""
        return (self.right - self.left) / self.width, (self.bottom - self.top) / self.height

    def scaled_down(self, factor: int) -> "Crop":
        """The same part of an image that was decoded at ``1 / factor`` of its size."""
        left, top = self.left / factor, self.top / factor
        right, bottom = self.right / factor, self.bottom / factor
        return Crop(left, top, right, bottom, self.width, self.height, self.orientation)


def crop_of(width: int, height: int, orientation: int, preprocessing: ImagePreprocessing) -> Crop:
    """Choose the part of a stored image of ``width x height`` px that the network sees.

    The rectangle is centred, so turning the image does not move it.
    """
    is_turned = _TURNS[orientation][0]
    placement = place(*((height, width) if is_turned else (width, height)), preprocessing)
    left, top, right, bottom = placement.source
    inner_left, inner_top, inner_right, inner_bottom = placement.target
    row_width, row_height = inner_right - inner_left, inner_bottom - inner_top
    if is_turned:
        left, top, right, bottom = top, left, bottom, right
        row_width, row_height = row_height, row_width
    return Crop(left, top, right, bottom, row_width, row_height, orientation)


def resample(pixels: NDArray[np.uint8], crop: Crop, interpolation: str) -> NDArray[np.uint8]:
    """Crop, resize and turn upright.

    Args:
        pixels: ``[h, w]``, ``[h, w, 3]`` or ``[h, w, 4]``.
        crop: the part to use, and the size to resize it to.
        interpolation: the training transform's, ``bilinear`` or ``bicubic``.

    Returns:
        ``[H, W]`` or, also for 3 channels, ``[H, W, 4]``: OpenCV handles 4 several times faster.
    """
    ratio_x, ratio_y = crop.ratios
    x = _Axis.of(crop.left, crop.right, ratio_x, pixels.shape[1])
    y = _Axis.of(crop.top, crop.bottom, ratio_y, pixels.shape[0])
    part = pixels[y.first : y.first + y.count * y.block, x.first : x.first + x.count * x.block]
    if x.missing or y.missing:
        part = cv2.copyMakeBorder(part, 0, y.missing, 0, x.missing, cv2.BORDER_REPLICATE)
    if x.block > 1 or y.block > 1:
        part = cv2.resize(part, (x.count, y.count), interpolation=cv2.INTER_AREA)
    if part.ndim == 3 and part.shape[2] == 3:
        part = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA)
    share_x, share_y = (_neighbours_share(axis.ratio, interpolation) for axis in (x, y))
    if share_x or share_y:
        part = cv2.sepFilter2D(part, -1, _smoothing(share_x), _smoothing(share_y))
    # A more stretched bicubic filter is nearer to linear than to OpenCV's cubic.
    is_cubic = interpolation == "bicubic" and max(x.ratio, y.ratio) < 1.15
    row = cv2.warpAffine(
        part,
        _matrix(x, y, crop),
        (crop.height, crop.width) if _TURNS[crop.orientation][0] else (crop.width, crop.height),
        flags=cv2.WARP_INVERSE_MAP | (cv2.INTER_CUBIC if is_cubic else cv2.INTER_LINEAR),
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(row, np.uint8)


def resample_exactly(
    pixels: NDArray[np.uint8], crop: Crop, interpolation: str
) -> NDArray[np.uint8]:
    """As `resample`, with the filter of the training transform: Pillow's, on upright pixels.

    Returns:
        ``[H, W]``, ``[H, W, 3]`` or ``[H, W, 4]``, like the pixels.
    """
    height, width = pixels.shape[:2]
    is_swapped, is_backwards_x, is_backwards_y = _TURNS[crop.orientation]
    across = _clipped(crop.left, crop.right, width, is_backwards=is_backwards_x)
    down = _clipped(crop.top, crop.bottom, height, is_backwards=is_backwards_y)
    turned = pixels[:: -1 if is_backwards_y else 1, :: -1 if is_backwards_x else 1]
    size = crop.width, crop.height
    if is_swapped:
        turned, across, down, size = turned.swapaxes(0, 1), down, across, (crop.height, crop.width)
    # Four channels as RGBX: Pillow reads them in place, and weights no colour by alpha.
    mode = "L" if pixels.ndim == 2 else {3: "RGB", 4: "RGBX"}[pixels.shape[2]]
    image = Image.frombuffer(
        mode, (turned.shape[1], turned.shape[0]), np.ascontiguousarray(turned), "raw", mode, 0, 1
    )
    box = across[0], down[0], across[1], down[1]
    return np.asarray(image.resize(size, _PILLOW_FILTERS[interpolation], box=box))


def _clipped(start: float, stop: float, size: int, *, is_backwards: bool) -> tuple[float, float]:
    """A range of an axis of ``size`` px after the axis is turned, clipped to the axis."""
    if is_backwards:
        start, stop = size - stop, size - start
    return max(0.0, start), min(float(size), stop)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the part to resize: ``count`` blocks of ``block`` px, starting at ``first``."""

    first: int
    count: int
    block: int
    missing: int  # px of the last block that are outside the image
    start: float  # of the crop, in blocks after `first`
    ratio: float  # blocks that become one pixel: below 2

    @classmethod
    def of(cls, start: float, stop: float, ratio: float, size: int) -> "_Axis":
        block = max(1, int(ratio))
        margin = 2 * block  # px beyond the crop that smoothing and interpolation use
        first = max(0, int(start) - margin)
        count = math.ceil((min(size, math.ceil(stop) + margin) - first) / block)
        missing = max(0, first + count * block - size)
        return cls(first, count, block, missing, (start - first) / block, ratio / block)

    def steps(self, size: int, *, is_backwards: bool) -> tuple[float, float]:
        """The distance between the ``size`` pixels, and the position of the first, by centres."""
        if is_backwards:
            return -self.ratio, self.start + self.ratio * (size - 0.5) - 0.5
        return self.ratio, self.start + self.ratio * 0.5 - 0.5


def _neighbours_share(ratio: float, interpolation: str) -> float:
    """The weight of each neighbour of a pixel for smoothing before interpolation, 0 to 0.25.

    Linear interpolation uses 2 px, the training transform ``2 * ratio``; below 1.5 the difference
    is within the tolerance. The formulas are fitted to the transform's results on photographs.
    """
    if ratio <= 1.5:
        return 0.0
    return 0.3 * (ratio - 1.5) if interpolation == "bicubic" else min(0.25, (ratio**2 - 1) / 10.5)


def _smoothing(share: float) -> NDArray[np.float32]:
    return np.array([share, 1 - 2 * share, share], np.float32)


def _matrix(x: _Axis, y: _Axis, crop: Crop) -> NDArray[np.float64]:
    """The affine map from a pixel of the upright row to its position in the part, ``[2, 3]``."""
    is_swapped, is_backwards_x, is_backwards_y = _TURNS[crop.orientation]
    step_x, shift_x = x.steps(crop.width, is_backwards=is_backwards_x)
    step_y, shift_y = y.steps(crop.height, is_backwards=is_backwards_y)
    if is_swapped:
        return np.array([[0.0, step_x, shift_x], [step_y, 0.0, shift_y]])
    return np.array([[step_x, 0.0, shift_x], [0.0, step_y, shift_y]])
