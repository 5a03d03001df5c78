"""R-CNN: Girshick et al., "Rich feature hierarchies" (arXiv 1311.2524).

Every proposal is cut out of the image, warped to a square, and sent through a classifier's
convolutions on its own. Linear support vector machines score the classes.
"""

from torch import Tensor, nn
from torch.nn import functional

from export.models.detection.box_coding import clip_boxes, to_centres, to_corners
from export.models.detection.region_svm import RegionSVM
from export.models.detection.roi_pool import roi_align
from export.models.resnet import resnet18

__all__ = ["RCNN", "warp"]

CONTEXT_SHARE = 16 / 227
"""Share of the warped square, on each side, that is context (appendix A)."""
GRID = 2
"""The last map is pooled to this number of cells in each direction, because the place of the object
in the square says how the box must move."""


def warp(x: Tensor, regions: Tensor, size_px: int) -> Tensor:
    """Cut out each region with a little context, and stretch it to a square (appendix A).

    Args:
        x: ``[N, C, H, W]``.
        regions: ``[N, R, 4]`` in px.
        size_px: side of the squares.

    Returns:
        ``[N, R, C, size_px, size_px]``.
    """
    centres, sizes = to_centres(regions)
    around = to_corners(centres, sizes / (1 - 2 * CONTEXT_SHARE))
    inside = clip_boxes(around, x.shape[2], x.shape[3])
    return roi_align(x, inside, size_px, stride_px=1, is_shifted=True)


class RCNN(nn.Module):
    """A ResNet-18 for small images, applied to every warped proposal.

    Args:
        num_classes: the number of classes, without the background.
        width: channels of the network's first stage.
        crop_px: side of the warped squares.
    """

    def __init__(self, num_classes: int = 20, width: int = 64, crop_px: int = 32) -> None:
        super().__init__()
        self.body = resnet18(width=width, small_images=True)
        del self.body.fc
        self.crop_px = crop_px
        self.feature_count = 8 * width * GRID**2
        self.head = RegionSVM(self.feature_count, num_classes)

    def features(self, x: Tensor, regions: Tensor) -> Tensor:
        """``[N, R, feature_count]`` of regions of normalised images."""
        crops = warp(x, regions, self.crop_px)
        body = self.body
        maps = body.relu(body.bn1(body.conv1(crops.flatten(0, 1))))
        maps = body.layer4(body.layer3(body.layer2(body.layer1(maps))))
        pooled = functional.avg_pool2d(maps, self.crop_px // 8 // GRID)
        return pooled.flatten(1).unflatten(0, regions.shape[:2])

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
