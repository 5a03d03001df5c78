"""Golden photographs: the real inputs that go with every artifact."""

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
DEFAULT_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def golden_images(
    photographs: Sequence[Path], preprocessing: ImagePreprocessing
) -> NDArray[np.uint8]:
    """Preprocess photographs; without any, those of scikit-image.

    Returns:
        ``[N, height, width, channels]`` uint8.

    Raises:
        GoldenError: a file is missing or is no image.
    """
    if not photographs:
        images = [Image.fromarray(getattr(skimage.data, name)()) for name in DEFAULT_PHOTOGRAPHS]
        return np.stack([preprocess_image(image, preprocessing) for image in images])
    return np.stack([_read_photograph(path, preprocessing) for path in photographs])


def _read_photograph(path: Path, preprocessing: ImagePreprocessing) -> NDArray[np.uint8]:
    try:
        return preprocess_image(path, preprocessing)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as err:
        raise GoldenError(
            f"the golden photograph {path} cannot be read ({err}); give a JPEG or PNG file"
        ) from err


def noise_images(preprocessing: ImagePreprocessing, count: int = 4) -> NDArray[np.uint8]:
    """Random pixels ``[count, height, width, channels]``, the same every time, for parity."""
    shape = (count, preprocessing.height, preprocessing.width, preprocessing.channels)
    return np.random.default_rng(RANDOM_SEED).integers(0, 256, shape, dtype=np.uint8)
