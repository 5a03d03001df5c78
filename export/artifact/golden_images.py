"""Golden images: the real inputs of an image model's artifact."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from export.artifact.parity import RANDOM_SEED
from export.artifact.preprocess import preprocess_image
from export.errors import GoldenError
from service.artifact.manifest import ImagePreprocessing

# Photographs in scikit-image's wheel, free of rights: a woman, a cat, a cup, a rocket.
DEFAULT_IMAGES = ("astronaut", "chelsea", "coffee", "rocket")


def golden_images(paths: Sequence[Path], preprocessing: ImagePreprocessing) -> NDArray[np.uint8]:
    """Preprocess images; without any, scikit-image's photographs.

    Returns:
        ``[N, height, width, channels]`` uint8.

    Raises:
        GoldenError: a file is missing or is not an image.
    """
    if not paths:
        images = [Image.fromarray(getattr(skimage.data, name)()) for name in DEFAULT_IMAGES]
        return np.stack([preprocess_image(image, preprocessing) for image in images])
    return np.stack([_read_image(path, preprocessing) for path in paths])


def _read_image(path: Path, preprocessing: ImagePreprocessing) -> NDArray[np.uint8]:
    try:
        return preprocess_image(path, preprocessing)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as err:
        raise GoldenError(
            f"the golden image {path} cannot be read ({err}); give a JPEG or PNG file"
        ) from err


def noise_images(preprocessing: ImagePreprocessing, count: int = 4) -> NDArray[np.uint8]:
    """Random pixels ``[count, height, width, channels]`` for parity, always the same."""
    shape = (count, preprocessing.height, preprocessing.width, preprocessing.channels)
    return np.random.default_rng(RANDOM_SEED).integers(0, 256, shape, dtype=np.uint8)
