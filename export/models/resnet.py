"""Residual networks: He et al., "Deep Residual Learning for Image Recognition" (arXiv 1512.03385).

Parameters have torchvision's names, so that public checkpoints load with ``strict=True``.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
]


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 1x1 convolution; batch normalisation follows, so it has no bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A padded 3x3 convolution; batch normalisation follows, so it has no bias."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The shortcut: the identity where shapes match, else a projection (option B of the paper)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, plus the input (figure 5 left).

    ``[N, in_channels, H, W] -> [N, width, H / stride, W / stride]``
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(in_channels, width, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by a residual."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand, plus the input (figure 5 right).

    ``[N, in_channels, H, W] -> [N, 4 * width, H / stride, W / stride]``
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = self.expansion * width
        self.conv1, self.bn1 = conv1x1(in_channels, width), nn.BatchNorm2d(width)
        # The stride is on the 3x3 and not on conv1 as in the paper, as in public checkpoints.
        self.conv2, self.bn2 = conv3x3(width, width, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv1x1(width, out_channels), nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by a residual."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.downsample(x))


class ResNet(nn.Module):
    """The stem, four stages of residual blocks, global average pooling, one linear layer (table 1).

    ``[N, in_channels, H, W] -> [N, num_classes]`` logits, for any H and W.

    Args:
        block: the kind of residual block.
        layers: blocks in each stage; the first stage keeps the resolution, the others halve it.
        width: channels of the first stage; each later stage doubles them.
        num_classes: length of the logits.
        in_channels: channels of the image.
        small_images: the stem of section 4.2 for images such as CIFAR's 32x32 (3x3 convolution,
            stride 1, no pooling) instead of ImageNet's (7x7, stride 2, max pooling).
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: Sequence[int],
        width: int = 64,
        num_classes: int = 1000,
        in_channels: int = 3,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        if small_images:
            self.conv1 = conv3x3(in_channels, width)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        widths = [width, 2 * width, 4 * width, 8 * width]
        inputs = [width, *(block.expansion * w for w in widths)]
        self.layer1 = stage(block, inputs[0], widths[0], layers[0], stride=1)
        self.layer2 = stage(block, inputs[1], widths[1], layers[1], stride=2)
        self.layer3 = stage(block, inputs[2], widths[2], layers[2], stride=2)
        self.layer4 = stage(block, inputs[3], widths[3], layers[3], stride=2)
        self.fc = nn.Linear(inputs[4], num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, num_classes]`` of normalised images ``[N, in_channels, H, W]``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        # Not AdaptiveAvgPool2d(1): the same numbers, but ONNX gets ten nodes that compute indices.
        return self.fc(x.mean((2, 3)))


def stage(
    block: type[BasicBlock | Bottleneck], in_channels: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    """``depth`` blocks at one resolution; the first one changes resolution and channels."""
    channels = [in_channels] + [block.expansion * width] * depth
    strides = [stride] + [1] * (depth - 1)
    blocks = (
        block(before, width, step)
        for (before, _), step in zip(pairwise(channels), strides, strict=True)
    )
    return nn.Sequential(*blocks)


def initialise(network: nn.Module) -> None:
    """He initialisation for convolutions; batch normalisation starts as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


resnet18 = partial(ResNet, BasicBlock, (2, 2, 2, 2))
resnet34 = partial(ResNet, BasicBlock, (3, 4, 6, 3))
resnet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3))
resnet101 = partial(ResNet, Bottleneck, (3, 4, 23, 3))
resnet152 = partial(ResNet, Bottleneck, (3, 8, 36, 3))
