"""Classifiers as fully convolutional networks (Long et al., arXiv 1411.4038, section 3.1).

A network for one subject in a crop then gives features at every place of an image of any size.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from export.models.alexnet import AlexNet
from export.models.densenet import DenseNet
from export.models.googlenet import GoogLeNet
from export.models.resnet import ResNet
from export.models.vgg import VGG

__all__ = ["Features", "convolutionalise", "dilate"]

STRIDES_PX = (8, 16, 32)
PROBE_PX = 64

# The layers that lead to strides of 8, 16 and 32 px, each to the last one at its stride.
_RESNET = ("conv1 bn1 relu maxpool layer1 layer2", "layer3", "layer4")
_GOOGLENET = (
    "conv1 maxpool1 conv2 conv3 maxpool2 inception3a inception3b",
    "maxpool3 inception4a inception4b inception4c inception4d inception4e",
    "maxpool4 inception5a inception5b",
)
_DENSENET = (
    "conv0 norm0 relu0 pool0 denseblock1 transition1 denseblock2",
    "transition2 denseblock3",
    "transition3 denseblock4 norm5 relu5",
)


def convolutionalise(head: nn.Sequential, channels: int, is_padded: bool = False) -> nn.Sequential:
    """Turn dense layers into convolutions with the same parameters.

    The first layer takes a whole map ``[channels, size, size]`` and becomes a ``size x size``
    convolution; the others become 1x1 convolutions. On a map of that size the answer equals the
    head's, as ``[N, out_features, 1, 1]``. A larger map has one answer per window. The parameters
    are shared with the head.

    Args:
        head: linear layers, with elementwise layers between them.
        channels: of the map that is flattened for the head.
        is_padded: pad the first convolution by half its size, so that there is an answer for every
            cell of the map (and one more if ``size`` is even).

    Raises:
        ValueError: the head does not take a square map of ``channels`` channels.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in head.named_children():
        if isinstance(layer, nn.Linear):
            size = math.isqrt(layer.in_features // channels)
            if channels * size**2 != layer.in_features:
                raise ValueError(
                    f"{layer.in_features} inputs are no square map of {channels} channels"
                )
            layer = as_convolution(layer, channels, size, padding=size // 2 if is_padded else 0)
            channels = layer.out_channels
        layers[name] = layer
    return nn.Sequential(layers)


def as_convolution(layer: nn.Linear, in_channels: int, size: int, padding: int) -> nn.Conv2d:
    """A convolution with the parameters of a linear layer."""
    shape = (in_channels, layer.out_features, size)
    convolution = nn.Conv2d(*shape, padding=padding, device="meta")
    # Shared and not copied: VGG's first dense layer has 400 MB.
    convolution.weight = nn.Parameter(layer.weight.data.view(convolution.weight.shape))
    convolution.bias = layer.bias
    return convolution


def dilate(stage: nn.Sequential, before: int, dilation: int) -> None:
    """Let a stage of residual blocks keep its resolution, in place.

    Its stride becomes 1. Its 3x3 convolutions take every ``dilation``-th pixel and so keep their
    field of view. The first block takes every ``before``-th pixel, because its input has not lost
    resolution yet.
    """
    for index, block in enumerate(stage):
        step = before if index == 0 else dilation
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
                if layer.kernel_size == (3, 3):
                    layer.dilation = layer.padding = (step, step)


class Features(nn.Module):
    """A classifier's features at three strides.

    ``[N, C, H, W] -> [N, c8, h8, w8], [N, c16, h16, w16], [N, c32, h32, w32]``, with H and W
    multiples of 32 px, ``h8 = H / 8`` and so on (one cell less with AlexNet, which does not pad its
    poolings).

    Args:
        classifier: AlexNet, VGG, GoogLeNet, ResNet or DenseNet, without ``small_images``. Its
            layers become part of this module. The last layer of its head is dropped (section 4.1);
            dense layers before it become convolutions.

    Raises:
        ValueError: the network is another one, or its features have other strides.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.stride8, self.stride16, self.stride32 = sections(classifier)
        pairs = zip(self.probe(), STRIDES_PX, strict=True)
        if not all(PROBE_PX // stride - shape[2] in (0, 1) for shape, stride in pairs):
            raise ValueError(
                f"the features of this {type(classifier).__name__} do not have strides of 8, 16 and"
                " 32 px; build it without small_images"
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of normalised images."""
        stride8 = self.stride8(x)
        stride16 = self.stride16(stride8)
        return stride8, stride16, self.stride32(stride16)

    def probe(self) -> list[torch.Size]:
        """The shapes of the three maps for an image of ``PROBE_PX``; nothing is computed."""
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        shapes = {name: torch.empty_like(each, device="meta") for name, each in tensors.items()}
        in_channels = next(shape.shape[1] for shape in shapes.values() if shape.ndim == 4)
        image = torch.empty(2, in_channels, PROBE_PX, PROBE_PX, device="meta")
        maps = torch.func.functional_call(self, shapes, (image,))
        return [each.shape for each in maps]


def sections(classifier: nn.Module) -> tuple[nn.Sequential, ...]:
    """The layers that lead to strides of 8, 16 and 32 px.

    Raises:
        ValueError: the classifier is not one of the known networks.
    """
    match classifier:
        case ResNet():
            return tuple(chain(classifier, names) for names in _RESNET)
        case GoogLeNet():
            return tuple(chain(classifier, names) for names in _GOOGLENET)
        case DenseNet():
            return tuple(chain(classifier.features, names) for names in _DENSENET)
        case AlexNet() | VGG():
            return pooled_sections(classifier.features, classifier.classifier)
    raise ValueError(f"{type(classifier).__name__} is no classifier whose features are known")


def pooled_sections(layers: nn.Sequential, head: nn.Sequential) -> tuple[nn.Sequential, ...]:
    """Each ends with a pooling (pool3, pool4, pool5 in the paper); the dense layers follow."""
    pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    first, second = (index + 1 for index in pools[-3:-1])
    channels = [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)][-1]
    dense = convolutionalise(part(head, 0, -1), channels, is_padded=True)
    deepest: OrderedDict[str, nn.Module] = OrderedDict(
        features=part(layers, second, None), dense=dense
    )
    return part(layers, 0, first), part(layers, first, second), nn.Sequential(deepest)


def part(layers: nn.Sequential, start: int, stop: int | None) -> nn.Sequential:
    """Some consecutive layers, under their own names."""
    return nn.Sequential(OrderedDict(list(layers.named_children())[start:stop]))


def chain(module: nn.Module, names: str) -> nn.Sequential:
    """Some children of a module, in sequence, under their own names."""
    return nn.Sequential(OrderedDict((name, getattr(module, name)) for name in names.split()))
