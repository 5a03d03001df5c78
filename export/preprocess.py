"""The reference of image preprocessing: what a training pipeline does, in Pillow, at full quality.

Golden inputs are made with it, and the server's faster decoder is held to it.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.manifest import ImagePreprocessing

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

Box = tuple[float, float, float, float]


def preprocess_image(
    image: Image.Image | bytes | Path, preprocessing: ImagePreprocessing
) -> NDArray[np.uint8]:
    """Turn an image into one row of the graph's input.

    Args:
        image: decoded, or encoded bytes, or a file.
        preprocessing: the network's.

    Returns:
        ``[height, width, channels]`` uint8; colours are RGB.
    """
    if isinstance(image, bytes):
        image = Image.open(io.BytesIO(image))
    elif isinstance(image, Path):
        image = Image.open(image)
    upright = to_8_bit(ImageOps.exif_transpose(image))
    coloured = upright.convert("RGB" if preprocessing.channels == 3 else "L")
    resized = coloured.resize(
        (preprocessing.width, preprocessing.height),
        _RESAMPLING[preprocessing.interpolation],
        box=source_box(coloured.width, coloured.height, preprocessing),
    )
    pixels = np.asarray(resized, dtype=np.uint8)
    return pixels.reshape(preprocessing.height, preprocessing.width, preprocessing.channels)


def to_8_bit(image: Image.Image) -> Image.Image:
    """Reduce 16-bit greys to their upper byte; Pillow's own conversion would clip them to white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))


def source_box(width: int, height: int, preprocessing: ImagePreprocessing) -> Box:
    """The part of an image that the network sees: left, top, right, bottom, in px.

    The edges are fractions of pixels where proportions do not divide evenly.
    """
    if preprocessing.fit == "stretch":
        return (0.0, 0.0, float(width), float(height))
    scale = min(width / preprocessing.width, height / preprocessing.height)
    crop_width = preprocessing.width * scale * preprocessing.crop_share
    crop_height = preprocessing.height * scale * preprocessing.crop_share
    # Rounding must not push an edge out of the image, which Pillow refuses.
    left, top = max(0.0, (width - crop_width) / 2), max(0.0, (height - crop_height) / 2)
    return (left, top, min(float(width), left + crop_width), min(float(height), top + crop_height))
