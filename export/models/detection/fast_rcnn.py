"""Fast R-CNN: Girshick (arXiv 1504.08083).

One feature map for the whole image, RoI max pooling of each proposal, and two sibling layers for
class scores and box offsets. Layers have the names of torchvision's detectors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.detection.box_coding import DeltaWeights, encode_boxes
from export.models.detection.candidates import to_candidates
from export.models.detection.feature_pyramid import ResNetPyramid
from export.models.detection.regions import IGNORED, RegionTargets
from export.models.detection.roi_pool import roi_max_pool
from export.models.resnet import resnet18

__all__ = ["BoxPredictor", "FastRCNN", "TwoMLPHead", "head_candidates", "head_loss"]

BOX_WEIGHTS: DeltaWeights = (10.0, 10.0, 5.0, 5.0)
"""Weights of the regression targets, as in torchvision."""
POOLED = 7
"""The pooled grid has this number of cells in each direction."""


class TwoMLPHead(nn.Module):
    """Two dense layers over a pooled region: ``[..., C, size, size] -> [..., out_features]``."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(in_features, out_features)
        self.fc7 = nn.Linear(out_features, out_features)

    def forward(self, pooled: Tensor) -> Tensor:
        """Features of each region."""
        return torch.relu(self.fc7(torch.relu(self.fc6(pooled.flatten(-3)))))


class BoxPredictor(nn.Module):
    """The two sibling layers, both for background (first) and each class.

    ``[..., F] ->`` logits ``[..., num_classes + 1]`` and box offsets ``[..., num_classes + 1, 4]``.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_features, num_classes + 1)
        self.bbox_pred = nn.Linear(in_features, 4 * (num_classes + 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and targets."""
        return self.cls_score(features), self.bbox_pred(features).unflatten(-1, (-1, 4))


def head_candidates(
    logits: Tensor,
    offsets: Tensor,
    regions: Tensor,
    image_size: tuple[int, int],
    most: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The candidates of a head's answer, background left out; see `to_candidates`.

    Args:
        logits: ``[N, R, num_classes + 1]``, background first.
        offsets: ``[N, R, num_classes + 1, 4]``.
        regions: ``[N, R, 4]``, px of the input.
        image_size: height and width in px.
        most: the number of candidates to return.
    """
    scores = torch.softmax(logits.float(), 2)[:, :, 1:]
    return to_candidates(
        scores, offsets[:, :, 1:], regions, image_size, weights=BOX_WEIGHTS, most=most
    )


def head_loss(logits: Tensor, offsets: Tensor, targets: Sequence[RegionTargets]) -> Tensor:
    """The multi-task loss (section 2.3): cross-entropy, plus smooth L1 of the true class's box.

    Args:
        logits: ``[N, S, num_classes + 1]``.
        offsets: ``[N, S, num_classes + 1, 4]``.
        targets: of each image.
    """
    labels = torch.stack([each.labels for each in targets])
    regions = torch.stack([each.regions for each in targets])
    boxes = torch.stack([each.boxes for each in targets])
    classes = functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    things = labels > 0
    wanted = encode_boxes(boxes[things], regions[things], BOX_WEIGHTS)
    own = offsets.float()[things][torch.arange(len(wanted)), labels[things]]
    error = functional.smooth_l1_loss(own, wanted, reduction="sum", beta=1 / 9)
    return (classes + error) / (labels != IGNORED).sum().clamp(min=1)


class FastRCNN(nn.Module):
    """A narrow ResNet-18 up to its third stage; regions are pooled from its map at stride 8.

    Args:
        num_classes: the number of classes, without the background.
        width: channels of the first stage.
        channels: of the map.
        representation_size: of the dense layers.
    """

    def __init__(
        self,
        num_classes: int = 20,
        width: int = 64,
        channels: int = 256,
        representation_size: int = 1024,
    ) -> None:
        super().__init__()
        self.backbone = ResNetPyramid(
            resnet18(width=width), channels, stages=(2, 3), outputs=1, has_pool=False
        )
        self.box_head = TwoMLPHead(channels * POOLED**2, representation_size)
        self.box_predictor = BoxPredictor(representation_size, num_classes)

    def forward(self, x: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and targets of regions ``[N, R, 4]`` of normalised images ``[N, 3, H, W]``."""
        (features,) = self.backbone(x)
        pooled = roi_max_pool(features, regions, POOLED, self.backbone.strides_px[0])
        return self.box_predictor(self.box_head(pooled))

    def detect(self, x: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates of normalised images.

        Args:
            x: ``[N, 3, H, W]``.
            proposals: ``[N, R, 4]`` in px, inside the image; unused rows zero.

        Returns:
            Boxes ``[N, R * num_classes, 4]`` and scores ``[N, R * num_classes, num_classes]``.
        """
        logits, offsets = self(x, proposals)
        return head_candidates(logits, offsets, proposals, (x.shape[2], x.shape[3]))
