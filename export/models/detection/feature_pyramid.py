"""Feature maps for detectors: a residual network whose deep maps are added to its fine ones.

Lin et al., "Feature Pyramid Networks for Object Detection" (arXiv 1612.03144), with torchvision's
names, so that its detectors' checkpoints load.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.resnet import BasicBlock, Bottleneck, ResNet

__all__ = ["FeaturePyramid", "FrozenBatchNorm2d", "ResNetPyramid", "freeze_batch_norm"]


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with constants instead of parameters.

    A detector sees so few images at a time that their statistics would be noise.

    Args:
        channels: of the map.
        eps: added to the variance; torchvision's COCO weights were trained with 0.
    """

    def __init__(self, channels: int, eps: float = 0.0) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Buffer(torch.ones(channels)), nn.Buffer(torch.zeros(channels))
        self.running_mean = nn.Buffer(torch.zeros(channels))
        self.running_var = nn.Buffer(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[N, C, H, W]``."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def freeze_batch_norm(network: nn.Module) -> None:
    """Replace every batch normalisation, in place, by a fresh frozen one."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, FrozenBatchNorm2d(child.num_features))
        else:
            freeze_batch_norm(child)


class FeaturePyramid(nn.Module):
    """Maps of all strides with similar meaning; each one includes the next coarser one.

    Args:
        in_channels: of the maps that come in, the finest first.
        out_channels: of the maps that go out.
        outputs: the number of maps that go out, the finest first.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, outputs: int) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, out_channels, 1)) for channels in in_channels
        )
        self.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(out_channels, out_channels, 3, padding=1))
            for _ in range(outputs)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """``[N, in_channels, H, W]`` each -> ``[N, out_channels, H, W]``, the finest first."""
        merged = self.inner_blocks[-1](maps[-1])
        inners = [merged]
        for fine, inner in zip(maps[-2::-1], list(self.inner_blocks)[-2::-1], strict=True):
            lateral = inner(fine)
            merged = lateral + functional.interpolate(merged, size=lateral.shape[2:])
            inners.insert(0, merged)
        # One map per layer block; the coarser maps are used only for these.
        return [layer(inner) for layer, inner in zip(self.layer_blocks, inners, strict=False)]


class ResNetPyramid(nn.Module):
    """A residual network without its classifier, under a feature pyramid.

    ``[N, 3, H, W] ->`` maps ``[N, out_channels, H / stride, W / stride]`` with the strides of
    ``strides_px``.

    Args:
        body: a fresh network; its last layers are cut off.
        out_channels: of the maps.
        stages: which stages feed the pyramid, such as ``(1, 2, 3, 4)``; later ones are cut off.
        outputs: the number of maps that leave the pyramid, the finest first.
        has_pool: append the coarsest map at half its resolution, for the largest anchors.
    """

    def __init__(
        self,
        body: ResNet,
        out_channels: int,
        stages: Sequence[int] = (1, 2, 3, 4),
        outputs: int = 4,
        has_pool: bool = True,
    ) -> None:
        super().__init__()
        del body.fc
        for stage in range(stages[-1] + 1, 5):
            delattr(body, f"layer{stage}")
        self.body, self.stages = body, tuple(stages)
        block = body.layer1[0]
        expansion = block.expansion if isinstance(block, Bottleneck) else BasicBlock.expansion
        widths = [expansion * body.conv1.out_channels * 2 ** (stage - 1) for stage in stages]
        self.fpn = FeaturePyramid(widths, out_channels, outputs)
        self.out_channels, self.has_pool = out_channels, has_pool
        self.strides_px = tuple(4 * 2 ** (stage - 1) for stage in stages[:outputs])
        """The strides of the maps for pooling; the appended map has twice the last stride."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps of normalised images, the finest first."""
        body = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
        maps: list[Tensor] = []
        for stage in range(1, self.stages[-1] + 1):
            x = getattr(body, f"layer{stage}")(x)
            if stage in self.stages:
                maps.append(x)
        maps = self.fpn(maps)
        return [*maps, maps[-1][:, :, ::2, ::2]] if self.has_pool else maps
