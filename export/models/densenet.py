"""DenseNet: Huang et al., "Densely Connected Convolutional Networks" (arXiv 1608.06993).

The form with bottlenecks and compression (DenseNet-BC, section 3). Parameters have torchvision's
names, so that public checkpoints load with ``strict=True``.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

__all__ = [
    "DenseBlock",
    "DenseLayer",
    "DenseNet",
    "densenet40",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
]

BOTTLENECK = 4
"""A 1x1 convolution leaves at most this many times the growth rate before each 3x3 one."""


class DenseLayer(nn.Module):
    """Normalise, 1x1 reduce, normalise, 3x3: the new features alone (H_l of equation 2).

    ``[N, in_channels, H, W] -> [N, growth_rate, H, W]``
    """

    def __init__(self, in_channels: int, growth_rate: int) -> None:
        super().__init__()
        width = BOTTLENECK * growth_rate
        self.norm1, self.relu1 = nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, growth_rate, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The features to add to ``x``."""
        x = self.conv1(self.relu1(self.norm1(x)))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    """Layers that each see the input and the features of all layers before (figure 1).

    ``[N, in_channels, H, W] -> [N, in_channels + depth * growth_rate, H, W]``
    """

    def __init__(self, in_channels: int, growth_rate: int, depth: int) -> None:
        super().__init__(
            {
                f"denselayer{index + 1}": DenseLayer(in_channels + index * growth_rate, growth_rate)
                for index in range(depth)
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the features of all layers to ``x``."""
        for layer in self.values():
            x = torch.cat((x, layer(x)), 1)
        return x


def transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """Compress the channels and halve the resolution, between two blocks."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )


class DenseNet(nn.Module):
    """The stem, dense blocks with transitions between, global average pooling, one linear layer.

    ``[N, in_channels, H, W] -> [N, num_classes]`` logits (table 1); H and W from 32 px on, with
    ``small_images`` from 16 px on.

    Args:
        depths: layers in each dense block.
        width: channels of the stem; each layer adds half as many (the growth rate k is width / 2).
        num_classes: length of the logits.
        in_channels: channels of the image.
        small_images: the stem for images such as CIFAR's 32x32, which halves the resolution (3x3
            convolution at stride 1, max pooling) instead of ImageNet's, which quarters it (7x7 at
            stride 2, max pooling).
    """

    def __init__(
        self,
        depths: Sequence[int],
        width: int = 64,
        num_classes: int = 1000,
        in_channels: int = 3,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        growth_rate = width // 2
        layers = small_stem(in_channels, width) if small_images else stem(in_channels, width)
        channels = width
        for index, depth in enumerate(depths, start=1):
            layers[f"denseblock{index}"] = DenseBlock(channels, growth_rate, depth)
            channels += depth * growth_rate
            if index < len(depths):
                # Half of the channels go on: the compression theta of 0.5.
                layers[f"transition{index}"] = transition(channels, channels // 2)
                channels //= 2
        layers["norm5"] = nn.BatchNorm2d(channels)
        layers["relu5"] = nn.ReLU(inplace=True)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, num_classes]`` of normalised images ``[N, in_channels, H, W]``."""
        # Not AdaptiveAvgPool2d(1): the same numbers, but ONNX gets ten nodes that compute indices.
        return self.classifier(self.features(x).mean((2, 3)))


def stem(in_channels: int, width: int) -> OrderedDict[str, nn.Module]:
    """``[N, in_channels, H, W] -> [N, width, H / 4, W / 4]``."""
    return OrderedDict(
        conv0=nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
        norm0=nn.BatchNorm2d(width),
        relu0=nn.ReLU(inplace=True),
        pool0=nn.MaxPool2d(3, stride=2, padding=1),
    )


def small_stem(in_channels: int, width: int) -> OrderedDict[str, nn.Module]:
    """``[N, in_channels, H, W] -> [N, width, H / 2, W / 2]``.

    The paper's networks for CIFAR do not pool here; pooling saves three quarters of the work.
    """
    return OrderedDict(
        conv0=nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        norm0=nn.BatchNorm2d(width),
        relu0=nn.ReLU(inplace=True),
        pool0=nn.MaxPool2d(2),
    )


def initialise(network: nn.Module) -> None:
    """He initialisation for convolutions; batch normalisation starts as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


densenet121 = partial(DenseNet, (6, 12, 24, 16))
densenet161 = partial(DenseNet, (6, 12, 36, 24), width=96)
densenet169 = partial(DenseNet, (6, 12, 32, 32))
densenet201 = partial(DenseNet, (6, 12, 48, 32))
# Three blocks of equal depth, as in the paper's experiments on CIFAR (section 3).
densenet40 = partial(DenseNet, (6, 6, 6), small_images=True)
