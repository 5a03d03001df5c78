"""AlexNet: Krizhevsky et al., "ImageNet Classification with Deep ... Networks" (NIPS 2012).

The default is the single tower of Krizhevsky, "One weird trick for parallelizing convolutional
neural networks" (arXiv 1404.5997), the form of public checkpoints. Parameters have torchvision's
names, so that these load with ``strict=True``. ``groups=2`` is the network of 2012, split over two
GPUs.
"""

from torch import Tensor, nn

from export.models.pooling import pool_to_grid

__all__ = ["AlexNet"]

# Channels of the five convolutions, by the number of towers.
CHANNELS = {1: (64, 192, 384, 256, 256), 2: (96, 256, 384, 384, 256)}
HIDDEN_SIZE = 4096


class AlexNet(nn.Module):
    """Five convolutions and three dense layers (section 3.5, figure 2).

    ``[N, in_channels, H, W] -> [N, num_classes]`` logits; H and W from 63 px on, with
    ``small_images`` from 15 px on.

    Local response normalisation (section 3.3) is left out, as in public checkpoints.

    Args:
        width: channels of the first convolution, 64 (96 with two groups) by default; all other
            channels, and the dense layers' size, keep their proportion to it.
        num_classes: length of the logits.
        in_channels: channels of the image.
        groups: 2 for the split over two GPUs (section 3.2): each sees half of the channels, but for
            the third convolution and the dense layers, which see all.
        hidden_size: neurons of each dense layer, instead of those that the width implies.
        dropout: share of neurons that training switches off before each hidden layer (section 4.2).
        small_images: for images such as CIFAR's 32x32: 5x5 kernels at stride 1 come first, instead
            of 11x11 at stride 4, and the dense layers see a grid of 3x3 cells instead of 6x6.
    """

    def __init__(
        self,
        width: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        groups: int = 1,
        hidden_size: int | None = None,
        dropout: float = 0.5,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        if groups not in CHANNELS:
            raise ValueError(f"groups must be one of {[*CHANNELS]}, not {groups}")
        full = CHANNELS[groups]
        width = width or full[0]
        channels = [width * of_full // full[0] for of_full in full]
        hidden_size = hidden_size or width * HIDDEN_SIZE // full[0]
        first = (
            nn.Conv2d(in_channels, channels[0], 5, padding=2)
            if small_images
            else nn.Conv2d(in_channels, channels[0], 11, stride=4, padding=2)
        )
        self.grid = 3 if small_images else 6
        self.features = nn.Sequential(
            *(first, nn.ReLU(inplace=True), overlapping_pool()),
            nn.Conv2d(channels[0], channels[1], 5, padding=2, groups=groups),
            *(nn.ReLU(inplace=True), overlapping_pool()),
            nn.Conv2d(channels[1], channels[2], 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[2], channels[3], 3, padding=1, groups=groups),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[3], channels[4], 3, padding=1, groups=groups),
            *(nn.ReLU(inplace=True), overlapping_pool()),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels[4] * self.grid**2, hidden_size),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_size, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, num_classes]`` of normalised images ``[N, in_channels, H, W]``."""
        return self.classifier(pool_to_grid(self.features(x), self.grid).flatten(1))


def overlapping_pool() -> nn.MaxPool2d:
    """Windows of 3 at a stride of 2 (section 3.4)."""
    return nn.MaxPool2d(3, stride=2)
