"""VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks ..." (arXiv 1409.1556).

Parameters have torchvision's names, so that public checkpoints load with ``strict=True``.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor, nn

from export.models.pooling import pool_to_grid

__all__ = [
    "VGG",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]

# Channels of the five stages, in units of the width.
MULTIPLES = (1, 2, 4, 8, 8)
HIDDEN_MULTIPLE = 64


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each ended by pooling, and three dense layers (table 1).

    ``[N, in_channels, H, W] -> [N, num_classes]`` logits; H and W from 32 px on.

    Args:
        depths: convolutions in each of the five stages.
        batch_norm: normalise after each convolution, which the paper does not.
        width: channels of the first stage; the later ones have 2, 4, 8 and 8 times as many, and
            each dense layer 64 times as many neurons.
        num_classes: length of the logits.
        in_channels: channels of the image.
        hidden_size: neurons of each dense layer, instead of those that the width implies.
        dropout: share of neurons that training switches off after each dense layer (section 3.1).
        small_images: for images such as CIFAR's 32x32. Five poolings leave one pixel, so the dense
            layers see a grid of 1x1 cells instead of 7x7.
    """

    def __init__(
        self,
        depths: Sequence[int],
        batch_norm: bool = False,
        width: int = 64,
        num_classes: int = 1000,
        in_channels: int = 3,
        hidden_size: int | None = None,
        dropout: float = 0.5,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        widths = [multiple * width for multiple in MULTIPLES]
        hidden_size = hidden_size or HIDDEN_MULTIPLE * width
        self.grid = 1 if small_images else 7
        inputs = [in_channels, *widths[:-1]]
        self.features = nn.Sequential(
            *(
                layer
                for before, channels, depth in zip(inputs, widths, depths, strict=True)
                for layer in stage(before, channels, depth, batch_norm)
            )
        )
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * self.grid**2, hidden_size),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, num_classes),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, num_classes]`` of normalised images ``[N, in_channels, H, W]``."""
        return self.classifier(pool_to_grid(self.features(x), self.grid).flatten(1))


def stage(in_channels: int, out_channels: int, depth: int, batch_norm: bool) -> Iterator[nn.Module]:
    """The layers of a stage: ``[N, in_channels, H, W] -> [N, out_channels, H // 2, W // 2]``."""
    for index in range(depth):
        yield nn.Conv2d(out_channels if index else in_channels, out_channels, 3, padding=1)
        if batch_norm:
            yield nn.BatchNorm2d(out_channels)
        yield nn.ReLU(inplace=True)
    yield nn.MaxPool2d(2)


def initialise(network: nn.Module) -> None:
    """He initialisation for convolutions, small normal weights for dense layers, no bias.

    The paper trains its shallowest network first and starts the deeper ones from it (section 3.1);
    since He et al. (arXiv 1502.01852) that is no longer needed.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


# Columns A, B, D and E of table 1.
vgg11 = partial(VGG, (1, 1, 2, 2, 2))
vgg13 = partial(VGG, (2, 2, 2, 2, 2))
vgg16 = partial(VGG, (2, 2, 3, 3, 3))
vgg19 = partial(VGG, (2, 2, 4, 4, 4))
vgg11_bn = partial(VGG, (1, 1, 2, 2, 2), batch_norm=True)
vgg13_bn = partial(VGG, (2, 2, 2, 2, 2), batch_norm=True)
vgg16_bn = partial(VGG, (2, 2, 3, 3, 3), batch_norm=True)
vgg19_bn = partial(VGG, (2, 2, 4, 4, 4), batch_norm=True)
