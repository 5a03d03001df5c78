"""The normalisation that recipes apply while they train: the same as the exported graph's."""

import torch
from torch import Tensor

from service.artifact.manifest import ImagePreprocessing


def normalise(images: Tensor, preprocessing: ImagePreprocessing) -> Tensor:
    """uint8 ``[N, C, H, W]`` -> float32, ``(pixel - mean) / std``."""
    mean = torch.tensor(preprocessing.mean, device=images.device)[:, None, None]
    std = torch.tensor(preprocessing.std, device=images.device)[:, None, None]
    normalised = (images.float() - mean) / std
    return normalised.contiguous(memory_format=torch.channels_last)
