"""Fully convolutional networks: Long, Shelhamer, Darrell (arXiv 1411.4038).

A classifier gives features at every place of an image, and 1x1 convolutions score them. Learned
upsampling turns coarse scores into one score per pixel. FCN-32s uses the deepest features alone;
FCN-16s and FCN-8s add skips from features at strides 16 and 8.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.segmentation.fully_convolutional import PROBE_PX, Features

__all__ = ["FCN", "bilinear_kernel", "refine"]

STRIDE_PX = 32
"""The stride of the deepest features."""
FINEST_PX = (32, 16, 8)


class FCN(nn.Module):
    """Skips and upsampling over a classifier's features (figure 3).

    ``[N, C, H, W] -> [N, num_classes, H, W]`` logits, for any H and W (on AlexNet from 33 px on).

    Args:
        classifier: see `Features`; its weights are used.
        num_classes: logits per pixel; Pascal VOC has 21 with the background.
        finest: stride in px of the finest features that are scored, 8, 16 or 32 (no skips).
    """

    def __init__(self, classifier: nn.Module, num_classes: int = 21, finest: int = 8) -> None:
        super().__init__()
        if finest not in FINEST_PX:
            raise ValueError(f"finest must be one of {FINEST_PX}, not {finest}")
        self.features = Features(classifier)
        coarse_to_fine = self.features.probe()[::-1][: FINEST_PX.index(finest) + 1]
        channels, cells = [shape[1] for shape in coarse_to_fine], [s[2] for s in coarse_to_fine]
        self.score = zero_scores(channels[0], num_classes)
        self.skip_scores = nn.ModuleList(zero_scores(c, num_classes) for c in channels[1:])
        self.doublings = nn.ModuleList(
            upsampling(num_classes, 2, coarse, fine) for coarse, fine in pairwise(cells)
        )
        self.upsampling = upsampling(num_classes, finest, cells[-1], PROBE_PX)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel of normalised images."""
        height, width = x.shape[2:]
        stride8, stride16, stride32 = self.features(pad_to_stride(x))
        scores = self.score(stride32)
        skips = zip((stride16, stride8), self.skip_scores, self.doublings, strict=False)
        for features, skip_score, double in skips:
            finer = skip_score(features)
            scores = cut_to(double(scores), finer.shape[2], finer.shape[3]) + finer
        return cut_to(self.upsampling(scores), height, width)


def zero_scores(in_channels: int, num_classes: int) -> nn.Conv2d:
    """Scores of each place.

    They start at zero: a new skip changes nothing (section 4.2), and random scores are no better
    than none (section 4.1).
    """
    score = nn.Conv2d(in_channels, num_classes, 1)
    for parameter in score.parameters():
        nn.init.zeros_(parameter)
    return score


def upsampling(num_classes: int, factor: int, cells: int, wanted: int) -> nn.ConvTranspose2d:
    """Learned upsampling of each class's scores by themselves, at first bilinear (section 3.3).

    If the result is larger than ``wanted`` cells in a row, both sides are cut evenly; one more cell
    stays where the excess is odd.
    """
    too_many = factor * (cells + 1) - wanted
    layer = nn.ConvTranspose2d(
        num_classes,
        num_classes,
        kernel_size=2 * factor,
        stride=factor,
        padding=too_many // 2,
        groups=num_classes,
        bias=False,
    )
    with torch.no_grad():
        layer.weight.copy_(bilinear_kernel(factor))
    return layer


def bilinear_kernel(factor: int) -> Tensor:
    """The kernel ``[2 * factor, 2 * factor]`` of a bilinear transposed convolution."""
    distances = (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
    weights = 1 - distances
    return weights[:, None] * weights


def pad_to_stride(x: Tensor) -> Tensor:
    """Pad images with zeros, right and below, to whole strides of the deepest features."""
    missing = [(size + STRIDE_PX - 1) // STRIDE_PX * STRIDE_PX - size for size in x.shape[2:]]
    return functional.pad(x, (0, missing[1], 0, missing[0]))


def cut_to(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left ``[N, C, height, width]`` of a map."""
    # Not a slice: the exporter would name the axis after the smaller of two sizes.
    return x.narrow(2, 0, height).narrow(3, 0, width)


def refine(coarse: FCN, fine: FCN) -> None:
    """Start a network from a trained one with fewer skips (section 4.2), in place.

    Parameters that the coarser network lacks keep their start: skip scores of zero and bilinear
    upsampling. The last upsampling is not shared, because its factor is smaller in the finer
    network.

    Raises:
        ValueError: the finer network has no place for a parameter.
    """
    state = coarse.state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith("upsampling.")}
    if unexpected := fine.load_state_dict(kept, strict=False).unexpected_keys:
        raise ValueError(f"the finer network has no {unexpected[0]}")
