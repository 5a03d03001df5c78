"""The reference of image preprocessing: a training pipeline's, in Pillow, at full quality.

Golden inputs are made with it. The server's faster decoder must agree with it.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import ValidationError

from export.errors import PreprocessingError, first_problem
from service.artifact.manifest import PADDING_LEVEL, ImagePreprocessing
from service.processing.placement import place

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


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
    placement = place(coloured.width, coloured.height, preprocessing)
    left, top, right, bottom = placement.target
    resized = coloured.resize(
        (right - left, bottom - top),
        _RESAMPLING[preprocessing.interpolation],
        box=placement.source,
    )
    shape = (preprocessing.height, preprocessing.width, preprocessing.channels)
    row = np.full(shape, PADDING_LEVEL, np.uint8)
    inner = row[top:bottom, left:right]
    inner[:] = np.asarray(resized, dtype=np.uint8).reshape(inner.shape)
    return row


def to_8_bit(image: Image.Image) -> Image.Image:
    """Reduce 16-bit greys to their upper byte; Pillow's own conversion would clip them to white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))


def validated_preprocessing(fields: Mapping[str, object]) -> ImagePreprocessing:
    """The preprocessing with these fields.

    Raises:
        PreprocessingError: a field is out of range, or mean and std do not fit the channels.
    """
    try:
        preprocessing = ImagePreprocessing.model_validate(fields)
    except ValidationError as err:
        where, reason = first_problem(err)
        raise PreprocessingError(f"the preprocessing's {where} is wrong: {reason}") from err
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if values and len(values) != preprocessing.channels:
            raise PreprocessingError(
                f"{name} has {len(values)} values and an image {preprocessing.channels} channels;"
                f" give --{name} one number per channel"
            )
    if any(value <= 0 for value in preprocessing.std):
        raise PreprocessingError("every value of std must be positive; check --std")
    return preprocessing
