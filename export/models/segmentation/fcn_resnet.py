"""A fully convolutional network on a dilated ResNet, the form of public checkpoints.

From Long et al. (arXiv 1411.4038), but instead of skips the deeper stages keep the resolution
(Yu and Koltun, arXiv 1511.07122). Parameters have torchvision's names, so that public checkpoints
load with ``strict=True``.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from export.models.resnet import Bottleneck, ResNet
from export.models.segmentation.fully_convolutional import dilate

__all__ = ["FCNResNet", "fcn_resnet50", "fcn_resnet101"]

BACKBONE = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class FCNResNet(nn.Module):
    """Bottleneck stages at strides of 4, 8, 8 and 8 px, a small head, bilinear upsampling.

    ``[N, in_channels, H, W] -> [N, num_classes, H, W]`` logits, for any H and W. In training mode,
    with an auxiliary head, a tuple: these logits and those of ``aux_classifier``.

    Args:
        layers: blocks in each stage.
        width: see `ResNet`.
        num_classes: logits per pixel; Pascal VOC has 21 with the background.
        in_channels: channels of the image.
        auxiliary_head: have ``aux_classifier`` after ``layer3``; it answers in training only.
    """

    def __init__(
        self,
        layers: Sequence[int],
        width: int = 64,
        num_classes: int = 21,
        in_channels: int = 3,
        auxiliary_head: bool = True,
    ) -> None:
        super().__init__()
        resnet = ResNet(Bottleneck, layers, width, in_channels=in_channels)
        dilate(resnet.layer3, before=1, dilation=2)
        dilate(resnet.layer4, before=2, dilation=4)
        self.backbone = nn.ModuleDict({name: getattr(resnet, name) for name in BACKBONE})
        deepest = 8 * width * Bottleneck.expansion
        self.classifier = head(deepest, num_classes)
        self.aux_classifier = head(deepest // 2, num_classes) if auxiliary_head else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits of every pixel of normalised images."""
        size = x.shape[2:]
        middle = x
        for name, layer in self.backbone.items():
            x = layer(x)
            if name == "layer3":
                middle = x
        logits = enlarge(self.classifier(x), size)
        if self.training and self.aux_classifier is not None:
            return logits, enlarge(self.aux_classifier(middle), size)
        return logits


def head(in_channels: int, num_classes: int) -> nn.Sequential:
    """``[N, in_channels, h, w] -> [N, num_classes, h, w]``."""
    width = in_channels // 4
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Dropout(0.1),
        nn.Conv2d(width, num_classes, 1),
    )


def enlarge(scores: Tensor, size: Sequence[int]) -> Tensor:
    """``[N, num_classes, h, w] -> [N, num_classes, *size]``."""
    return functional.interpolate(scores, tuple(size), mode="bilinear", align_corners=False)


fcn_resnet50 = partial(FCNResNet, (3, 4, 6, 3))
fcn_resnet101 = partial(FCNResNet, (3, 4, 23, 3))
