"""The backbones of YOLO: Darknet-19 and Darknet-53.

Redmon and Farhadi, "YOLO9000" (arXiv 1612.08242, table 6) and "YOLOv3" (arXiv 1804.02767, table 1).
"""

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["ConvNorm", "Darknet19", "Darknet53", "Residual"]

NEGATIVE_SLOPE = 0.1


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, leaky ReLU; padded so that stride 1 keeps the size.

    ``[N, in_channels, H, W] -> [N, out_channels, H / stride, W / stride]``
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Convolution, normalisation, leaky ReLU."""
        return self.act(self.bn(self.conv(x)))


def squeeze_expand(channels: int, count: int) -> nn.Sequential:
    """3x3 convolutions with 1x1 ones between them that halve the channels (VGG with bottlenecks).

    ``[N, channels / 2, H, W] -> [N, channels, H, W]`` in ``count`` convolutions, an odd number.
    """
    layers = [
        ConvNorm(channels // 2, channels, 3)
        if index % 2 == 0
        else ConvNorm(channels, channels // 2, 1)
        for index in range(count)
    ]
    return nn.Sequential(*layers)


class Darknet19(nn.Module):
    """Nineteen convolutions, the last of which gives the classes (table 6).

    ``[N, 3, H, W] -> [N, num_classes]`` logits; ``features`` gives the maps for a detector.

    Args:
        num_classes: length of the logits.
        width: channels of the first convolution.
    """

    def __init__(self, num_classes: int = 1000, width: int = 32) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.stage1 = ConvNorm(3, width, 3)
        self.stage2 = squeeze_expand(2 * width, 1)
        self.stage3 = squeeze_expand(4 * width, 3)
        self.stage4 = squeeze_expand(8 * width, 3)
        self.stage5 = squeeze_expand(16 * width, 5)
        self.stage6 = squeeze_expand(32 * width, 5)
        self.classifier = nn.Conv2d(32 * width, num_classes, 1)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, 16 * width, H / 16, W / 16]`` and ``[N, 32 * width, H / 32, W / 32]``."""
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
            x = self.pool(stage(x))
        fine = self.stage5(x)
        return fine, self.stage6(self.pool(fine))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised images."""
        return self.classifier(self.features(x)[1]).mean((2, 3))


class Residual(nn.Module):
    """1x1 halve, 3x3 restore, plus the input.

    ``[N, channels, H, W] -> [N, channels, H, W]``
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels // 2, 1)
        self.conv2 = ConvNorm(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by a residual."""
        return x + self.conv2(self.conv1(x))


class Darknet53(nn.Module):
    """Stages of residual blocks, each begun by a convolution of stride 2 (table 1).

    ``[N, 3, H, W] -> [N, num_classes]`` logits; ``features`` gives the maps for a detector.

    Args:
        num_classes: length of the logits; 0: no classifier, for a detector.
        width: channels of the first convolution; each stage doubles them.
        depths: residual blocks in each stage; each stage halves the resolution.
    """

    def __init__(
        self, num_classes: int = 1000, width: int = 32, depths: Sequence[int] = (1, 2, 8, 8, 4)
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, width, 3)
        self.channels = [width * 2 ** (stage + 1) for stage in range(len(depths))]
        self.stages = nn.ModuleList(
            nn.Sequential(
                ConvNorm(channels // 2, channels, 3, stride=2),
                *(Residual(channels) for _ in range(depth)),
            )
            for channels, depth in zip(self.channels, depths, strict=True)
        )
        self.fc = nn.Linear(self.channels[-1], num_classes) if num_classes else None

    def features(self, x: Tensor) -> list[Tensor]:
        """The map of each stage, ``[N, channels, H / 2, W / 2]`` first."""
        maps: list[Tensor] = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised images."""
        if self.fc is None:
            raise RuntimeError("this Darknet-53 was made without a classifier")
        return self.fc(self.features(x)[-1].mean((2, 3)))
