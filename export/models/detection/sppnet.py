"""SPPNet: He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks" (arXiv 1406.4729).

The convolutions run once over the whole image. Pyramids of grids over its feature map give features
of one length for regions of any size. Dense layers and linear support vector machines follow
(section 4).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.models.detection.feature_pyramid import ResNetPyramid
from export.models.detection.region_svm import RegionSVM
from export.models.detection.roi_pool import spatial_pyramid_pool
from export.models.resnet import resnet18

__all__ = ["SPPNet"]


class SPPNet(nn.Module):
    """A narrow ResNet-18 up to its third stage, and pyramids over its map at stride 8.

    Args:
        num_classes: the number of classes, without the background.
        width: channels of the network's first stage.
        channels: of the map.
        levels: cells in each direction of each level of the pyramid.
        representation_size: of the dense layer.
    """

    def __init__(
        self,
        num_classes: int = 20,
        width: int = 64,
        channels: int = 256,
        levels: Sequence[int] = (6, 3, 2, 1),
        representation_size: int = 4096,
    ) -> None:
        super().__init__()
        self.backbone = ResNetPyramid(
            resnet18(width=width), channels, stages=(2, 3), outputs=1, has_pool=False
        )
        self.levels = tuple(levels)
        cells = sum(size**2 for size in levels)
        self.fc6 = nn.Linear(channels * cells, representation_size)
        self.fc7 = nn.Linear(representation_size, representation_size)
        self.feature_count = representation_size
        self.head = RegionSVM(representation_size, num_classes)

    def features(self, x: Tensor, regions: Tensor) -> Tensor:
        """``[N, R, feature_count]`` of regions of normalised images."""
        (map_,) = self.backbone(x)
        pyramids = spatial_pyramid_pool(map_, regions, self.levels, self.backbone.strides_px[0])
        return torch.relu(self.fc7(torch.relu(self.fc6(pyramids))))

    def detect(self, x: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates of normalised images.

        Args:
            x: ``[N, 3, H, W]``.
            proposals: ``[N, R, 4]`` in px, inside the image; unused rows zero.

        Returns:
            Boxes ``[N, R * num_classes, 4]`` and scores ``[N, R * num_classes, num_classes]``.
        """
        features = self.features(x, proposals)
        return self.head(features, proposals, (x.shape[2], x.shape[3]))
