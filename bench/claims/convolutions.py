"""Claims on convolutions: sizes, counts, and a dense head as convolutions."""

from pathlib import Path

import torch
from torch import Tensor, nn

from bench.claims.claim import Claim, draw_bars, parameters
from export.models import build
from export.models.densenet import transition
from export.models.googlenet import INCEPTIONS
from export.models.segmentation.fully_convolutional import convolutionalise

FULL_SIZE = ("alexnet", "vgg16", "vgg19", "googlenet", "resnet50", "densenet121")


def one_by_one() -> Claim:
    """A 1x1 convolution before a wide one: the 5x5 branch of GoogLeNet's first module."""
    in_channels = 192
    _, _, _, reduced, out_channels, _ = INCEPTIONS["3a"]
    direct = parameters(nn.Conv2d(in_channels, out_channels, 5, bias=False))
    through = parameters(nn.Conv2d(in_channels, reduced, 1, bias=False)) + parameters(
        nn.Conv2d(reduced, out_channels, 5, bias=False)
    )
    return Claim(
        "one-by-one",
        "A 1x1 convolution saves parameters",
        f"GoogLeNet's module 3a as the paper has it, {in_channels} channels to {out_channels} by"
        f" 5x5, has {through:,} parameters through a 1x1 convolution to {reduced} channels."
        f" Without it there are {direct:,}, {direct / through:.1f} times as many.",
        through < direct,
        ("form", "parameters"),
        (
            (f"5x5, {in_channels} → {out_channels}", f"{direct:,}"),
            (f"1x1, {in_channels} → {reduced}; 5x5, {reduced} → {out_channels}", f"{through:,}"),
        ),
    )


def receptive_field(layers: nn.Module, channels: int, size_px: int = 15) -> Tensor:
    """Which pixels the centre of the output depends on, ``[size_px, size_px]`` bool."""
    image = torch.zeros(1, channels, size_px, size_px, requires_grad=True)
    output = layers(image)
    middle = size_px // 2
    output[0, :, middle, middle].sum().backward()
    assert image.grad is not None
    return image.grad[0].abs().sum(0) > 0


def two_three_by_three(channels: int = 64) -> Claim:
    """Two 3x3 convolutions against one 5x5."""
    torch.manual_seed(0)
    two = nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
    )
    one = nn.Conv2d(channels, channels, 5, padding=2, bias=False)
    same = torch.equal(receptive_field(two, channels), receptive_field(one, channels))
    counts = parameters(two), parameters(one)
    return Claim(
        "two-3x3",
        "Two 3x3 convolutions see what one 5x5 sees, with fewer parameters",
        f"The centre of the output depends on {'the same' if same else 'other'} 5x5 pixels,"
        f" which differentiation shows. There are {counts[0]:,} parameters against {counts[1]:,} at"
        f" {channels} channels, {counts[0] / counts[1]:.0%}.",
        same and counts[0] < counts[1],
    )


def full_size_counts() -> dict[str, int]:
    """Parameters of the published networks, 1000 classes, nothing allocated."""
    with torch.device("meta"):
        return {
            name: parameters(
                build(name, **({"auxiliary_heads": False} if name == "googlenet" else {}))
            )
            for name in FULL_SIZE
        }


def googlenet_is_small(pictures: Path) -> Claim:
    """Parameter counts at full size."""
    counts = full_size_counts()
    google, alex, vgg = counts["googlenet"], counts["alexnet"], counts["vgg16"]
    return Claim(
        "parameters",
        "GoogLeNet has fewer parameters than AlexNet and VGG",
        f"At full size, without auxiliary heads: {google:,} against {alex:,} ({alex / google:.1f}"
        f" times as many) and {vgg:,} ({vgg / google:.1f} times).",
        google < alex < vgg,
        ("network", "parameters"),
        [(name, f"{count:,}") for name, count in counts.items()],
        draw_bars(
            pictures / "parameters.png",
            list(counts),
            [count / 1e6 for count in counts.values()],
            title="Parameters at full size",
            x_label="millions",
        ),
    )


def transitions() -> Claim:
    """The channels that DenseNet-121's 1x1 transitions save."""
    growth_rate, depths, channels, free = 32, (6, 12, 24, 16), 64, 64
    rows: list[tuple[str, str, str, str]] = []
    for index, depth in enumerate(depths[:-1], start=1):
        channels, free = channels + depth * growth_rate, free + depth * growth_rate
        halved = channels // 2
        count = parameters(transition(channels, halved))
        rows.append((f"transition{index}", f"{channels} → {halved}", f"{free}", f"{count:,}"))
        channels = halved
    return Claim(
        "transitions",
        "DenseNet concatenates, so channels grow; 1x1 convolutions bring them down again",
        f"In DenseNet-121 each transition halves them: {channels} channels enter the last block;"
        f" without transitions {free} would.",
        channels < free,
        ("layer", "channels", "without any transition", "its parameters"),
        rows,
    )


def convolutionalised() -> Claim:
    """A dense head as convolutions: the same numbers on one crop, an answer at any size."""
    torch.manual_seed(0)
    network = build("vgg11", num_classes=10, width=8, hidden_size=64).eval()
    features, head = network.features, network.classifier
    assert isinstance(features, nn.Sequential)
    assert isinstance(head, nn.Sequential)
    channels = [layer.out_channels for layer in features if isinstance(layer, nn.Conv2d)][-1]
    convolutions = convolutionalise(head, channels).eval()
    with torch.inference_mode():
        crop = torch.randn(2, 3, 224, 224)
        difference = float((convolutions(features(crop)).flatten(1) - network(crop)).abs().max())
        larger = {
            f"{height}x{width}": tuple(
                convolutions(features(torch.randn(1, 3, height, width))).shape[2:]
            )
            for height, width in ((224, 224), (256, 320), (480, 640))
        }
    counts = parameters(head), parameters(convolutions)
    return Claim(
        "convolutionalised",
        "Dense layers as convolutions: the same parameters, the same answer, any input size",
        f"A VGG-11's head has {counts[0]:,} parameters before and {counts[1]:,} after. On a crop of"
        f" 224x224 the logits differ by at most {difference:.1e} (the order of the sums)."
        " Larger images get an answer for every window.",
        counts[0] == counts[1] and difference < 1e-4,
        ("image", "answers"),
        [(size, f"{rows}x{columns}") for size, (rows, columns) in larger.items()],
    )
