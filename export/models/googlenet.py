"""GoogLeNet: Szegedy et al., "Going Deeper with Convolutions" (arXiv 1409.4842).

With batch normalisation, as in public checkpoints. Parameters have torchvision's names, so that
these load with ``strict=True``. They expect pixels scaled to -1..1 (mean and deviation 127.5).
"""

from functools import partial

import torch
from torch import Tensor, nn

from export.models.pooling import pool_to_grid

__all__ = ["AuxiliaryHead", "GoogLeNet", "Inception"]

WIDTH = 64
"""Of the full-size network's first convolution."""

# Channels of the inception modules (table 1): #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class ConvNorm(nn.Module):
    """A convolution without bias, batch normalisation, ReLU; 1x1 and 3x3 keep the resolution."""

    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W] -> [N, out_channels, H / stride, W / stride]``."""
        return self.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four ways to look at the same input, side by side (figure 2b).

    ``[N, in_channels, H, W] -> [N, out_channels, H, W]``

    Args:
        in_channels: channels of the input.
        channels: a row of ``INCEPTIONS``.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pool = channels
        self.out_channels = one + three + five + pool
        self.branch1 = ConvNorm(in_channels, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(in_channels, reduce3, 1), ConvNorm(reduce3, three, 3))
        # 3x3 where the paper has 5x5, as in public checkpoints.
        self.branch3 = nn.Sequential(ConvNorm(in_channels, reduce5, 1), ConvNorm(reduce5, five, 3))
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), ConvNorm(in_channels, pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the outputs of the four branches."""
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class AuxiliaryHead(nn.Module):
    """A classifier on an inner feature map, for a larger gradient there (section 5).

    ``[N, in_channels, H, W] -> [N, num_classes]`` logits
    """

    def __init__(self, width: int, num_classes: int, dropout: float, in_channels: int) -> None:
        super().__init__()
        self.conv = ConvNorm(in_channels, 2 * width, 1)
        self.fc1 = nn.Linear(2 * width * 4 * 4, 16 * width)
        self.relu, self.dropout = nn.ReLU(inplace=True), nn.Dropout(dropout)
        self.fc2 = nn.Linear(16 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of an inner feature map."""
        x = self.conv(pool_to_grid(x, 4)).flatten(1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """A convolutional stem, nine inception modules, one linear layer (table 1, figure 3).

    ``[N, in_channels, H, W] -> [N, num_classes]`` logits, for any H and W. In training mode, with
    auxiliary heads, a tuple of three: these logits, those of ``aux1`` and those of ``aux2``.

    Args:
        width: channels of the first convolution; all others keep their proportion to it.
        num_classes: length of the logits.
        in_channels: channels of the image.
        auxiliary_heads: have ``aux1`` and ``aux2``; they answer in training only.
        dropout: share of features that training switches off before the linear layer.
        auxiliary_dropout: the same within the auxiliary heads.
        small_images: the stem for images such as CIFAR's 32x32, which halves the resolution (3x3
            convolution at stride 1, one pooling) instead of ImageNet's, which divides it by eight
            (7x7 at stride 2, two poolings).
    """

    def __init__(
        self,
        width: int = WIDTH,
        num_classes: int = 1000,
        in_channels: int = 3,
        auxiliary_heads: bool = True,
        dropout: float = 0.4,
        auxiliary_dropout: float = 0.7,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        if small_images:
            self.conv1, self.maxpool1 = ConvNorm(in_channels, width, 3), nn.Identity()
        else:
            self.conv1, self.maxpool1 = ConvNorm(in_channels, width, 7, stride=2), halving_pool(3)
        self.conv2 = ConvNorm(width, width, 1)
        self.conv3 = ConvNorm(width, 3 * width, 3)
        self.maxpool2, self.maxpool3 = halving_pool(3), halving_pool(3)
        self.maxpool4 = halving_pool(2)
        row = {name: scaled(channels, width) for name, channels in INCEPTIONS.items()}
        self.inception3a = Inception(3 * width, row["3a"])
        self.inception3b = Inception(self.inception3a.out_channels, row["3b"])
        self.inception4a = Inception(self.inception3b.out_channels, row["4a"])
        self.inception4b = Inception(self.inception4a.out_channels, row["4b"])
        self.inception4c = Inception(self.inception4b.out_channels, row["4c"])
        self.inception4d = Inception(self.inception4c.out_channels, row["4d"])
        self.inception4e = Inception(self.inception4d.out_channels, row["4e"])
        self.inception5a = Inception(self.inception4e.out_channels, row["5a"])
        self.inception5b = Inception(self.inception5a.out_channels, row["5b"])
        self.aux1 = self.aux2 = None
        if auxiliary_heads:
            head = partial(AuxiliaryHead, width, num_classes, auxiliary_dropout)
            self.aux1 = head(self.inception4a.out_channels)
            self.aux2 = head(self.inception4d.out_channels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.inception5b.out_channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Logits of normalised images ``[N, in_channels, H, W]``."""
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        after_4a = self.inception4a(x)
        after_4d = self.inception4d(self.inception4c(self.inception4b(after_4a)))
        x = self.maxpool4(self.inception4e(after_4d))
        x = self.inception5b(self.inception5a(x))
        # Not AdaptiveAvgPool2d(1): the same numbers, but ONNX gets ten nodes that compute indices.
        logits = self.fc(self.dropout(x.mean((2, 3))))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return logits, self.aux1(after_4a), self.aux2(after_4d)
        return logits


def halving_pool(size: int) -> nn.MaxPool2d:
    """``[N, C, H, W] -> [N, C, H / 2, W / 2]``, rounded up."""
    return nn.MaxPool2d(size, stride=2, ceil_mode=True)


def scaled(channels: tuple[int, ...], width: int) -> tuple[int, ...]:
    """A row of ``INCEPTIONS`` for another width."""
    return tuple(max(1, width * full // WIDTH) for full in channels)


def initialise(network: nn.Module) -> None:
    """Small truncated normal weights; batch normalisation starts as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)
