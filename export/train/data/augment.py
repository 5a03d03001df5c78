"""Augmentation of batches of small images, on uint8 tensors."""

import torch
from torch import Tensor
from torch.nn import functional


def pad_by_reflection(images: Tensor, padding_px: int) -> Tensor:
    """Pad uint8 images ``[N, C, H, W]`` on each side, for `crop_and_flip`."""
    padded = [
        functional.pad(part.float(), [padding_px] * 4, mode="reflect").to(torch.uint8)
        for part in images.split(4096)
    ]
    return torch.cat(padded)


def crop_and_flip(
    padded: Tensor, indices: Tensor, size_px: int, generator: torch.Generator
) -> Tensor:
    """Cut a random square out of each chosen image and mirror every second one, on average.

    Args:
        padded: ``[M, C, H, W]`` uint8.
        indices: ``[N]`` rows of ``padded``.
        size_px: side of the squares.
        generator: the only source of randomness.

    Returns:
        ``[N, C, size_px, size_px]`` uint8.
    """
    windows = padded.unfold(2, size_px, 1).unfold(3, size_px, 1)  # [M, C, y, x, size_px, size_px]
    draws = (len(indices),)
    top = torch.randint(windows.shape[2], draws, generator=generator)
    left = torch.randint(windows.shape[3], draws, generator=generator)
    crops = windows[indices, :, top, left]
    is_mirrored = torch.rand(draws, generator=generator) < 0.5
    return torch.where(is_mirrored[:, None, None, None], crops.flip(-1), crops)
