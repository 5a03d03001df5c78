"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 photographs of 32x32 pixels in ten classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from export.errors import DataError
from export.train.data.parquet import decode, read_splits

CIFAR10_FILE = "cifar10.parquet"

CIFAR10_LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

# Means and standard deviations of the training split, in units of 0..255.
CIFAR10_MEAN = (125.3, 123.0, 113.9)
CIFAR10_STD = (63.0, 62.1, 66.7)

WHERE_TO_GET_IT = (
    f"--data must name a folder with {CIFAR10_FILE}, columns split, label and image (JPEG or PNG"
    " bytes)"
)


@dataclass(frozen=True)
class LabelledImages:
    """A split of the data."""

    images: Tensor
    """``[N, 3, 32, 32]`` uint8."""
    targets: Tensor
    """``[N]`` int64, indices into ``CIFAR10_LABELS``."""


def read_cifar10(data_dir: Path, split: Literal["train", "test"]) -> LabelledImages:
    """Decode one split of ``cifar10.parquet`` (columns ``split``, ``label`` and ``image``).

    Raises:
        DataError: the file is missing or holds something else.
    """
    path = data_dir / CIFAR10_FILE
    table = read_splits(path, ("label", "image"), (split,), WHERE_TO_GET_IT)
    index_of = {label: index for index, label in enumerate(CIFAR10_LABELS)}
    names = table["label"].to_pylist()
    if unknown := set(names) - set(CIFAR10_LABELS):
        raise DataError(f"{path} holds labels that are not CIFAR-10's: {sorted(unknown)}")
    pixels = np.stack([decode(image) for image in table["image"].to_pylist()])
    return LabelledImages(
        images=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        targets=torch.tensor([index_of[name] for name in names]),
    )
