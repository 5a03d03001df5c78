"""Segmentation: pixels in, the class of each pixel out."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.artifact.golden_images import golden_images, noise_images
from export.artifact.labels import check_label_count
from export.artifact.parity import Agreement, Outputs
from export.artifact.spec import ArtifactSpec
from export.artifact.tolerances import MASK_TOLERANCE
from export.errors import GraphError
from export.pytorch.heads.classification import Normalise
from export.pytorch.network import ArtifactOptions, Network
from export.pytorch.reference import run_module
from service.artifact.manifest import ImagePreprocessing, Task, TensorSpec

SIZES_PX = ((240, 320), (360, 480), (480, 640), (320, 240), (480, 360), (640, 480))
"""Height and width of the buckets that every artifact has in addition to the network's own size:
landscape and portrait."""

MAX_BATCH_SIZE = 8
"""The default. 8 images of 480x640 with 21 classes have 200 MB of logits, and ONNX Runtime holds a
few such arrays at a time."""

LEAST_AGREEMENT = 0.995
PIXELS = ("batch", "height", "width")


class Segmenter(nn.Module):
    """A network with normalisation before it and the choice of a class behind it.

    ``images [N, H, W, C] uint8 -> mask [N, H, W] uint8, confidence [N, H, W] uint8,
    scores [N, num_classes, H, W] uint8``: the most probable class of each pixel, its probability,
    and the probability of every class, in 0..255. The server asks for scores on request only.
    """

    def __init__(self, network: nn.Module, preprocessing: ImagePreprocessing) -> None:
        super().__init__()
        self.normalise = Normalise(preprocessing)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mask, confidence and scores of unnormalised images."""
        logits = self.network(self.normalise(images)).float()  # [N, num_classes, H, W]
        best, mask = logits.max(dim=1)
        # The largest value of softmax, without the others.
        probability = 1 / torch.exp(logits - best[:, None]).sum(dim=1)
        scores = levels(logits.softmax(dim=1))
        return mask.to(torch.uint8), levels(probability), scores


def levels(probability: Tensor) -> Tensor:
    """0..1 as uint8 0..255."""
    return (255 * probability).round().to(torch.uint8)


def prepare(network: Network, options: ArtifactOptions) -> tuple[nn.Module, ArtifactSpec]:
    """The module and the spec of a network that gives logits ``[N, num_classes, H, W]``.

    Raises:
        ExportError: something is missing, or the network does not fit its labels.
    """
    preprocessing = network.known_preprocessing(options.name)
    sizes = sorted({*SIZES_PX, (preprocessing.height, preprocessing.width)})
    resized = [preprocessing.model_copy(update={"height": h, "width": w}) for h, w in sizes]
    golden = [golden_images(options.golden, each) for each in resized]
    segmenter = Segmenter(copy.deepcopy(network.module), preprocessing).cpu().float().eval()
    check_classes(segmenter, golden[0][:1], network.labels)
    spec = ArtifactSpec(
        name=options.name,
        task=Task.SEGMENTATION,
        inputs=(TensorSpec(name="images", dtype="uint8", axes=(*PIXELS, preprocessing.channels)),),
        outputs=(
            TensorSpec(name="mask", dtype="uint8", axes=PIXELS),
            TensorSpec(name="confidence", dtype="uint8", axes=PIXELS),
            TensorSpec(
                name="scores",
                dtype="uint8",
                axes=("batch", len(network.labels), *PIXELS[1:]),
                on_request=True,
            ),
        ),
        golden=tuple({"images": images} for images in golden),
        probes=tuple({"images": noise_images(each)} for each in resized),
        agreement=Agreement("pixels of the mask", same_pixels, LEAST_AGREEMENT),
        buckets=tuple({"height": height, "width": width} for height, width in sizes),
        labels=network.labels,
        preprocessing=preprocessing,
        section=network.section,
        architecture=network.architecture,
        origin=network.origin,
        metrics=options.metrics,
        version=options.version,
        max_batch_size=options.max_batch_size or MAX_BATCH_SIZE,
        tolerance=MASK_TOLERANCE,
    )
    return segmenter, spec


def check_classes(segmenter: Segmenter, images: NDArray[np.uint8], labels: tuple[str, ...]) -> None:
    """Refuse a network that does not give one logit for each pixel and label."""
    (logits,) = run_module(nn.Sequential(segmenter.normalise, segmenter.network), [images])
    if logits.shape != (1, logits.shape[1], *images.shape[1:3]):
        raise GraphError(
            f"the network gives logits of shape {list(logits.shape)} for images of"
            f" {list(images.shape[1:3])}, not [N, num_classes, height, width]"
        )
    check_label_count(logits.shape[1], labels, "the network")


def same_pixels(actual: Outputs, expected: Outputs) -> NDArray[np.float64]:
    """The share of each mask's pixels that have PyTorch's class."""
    return (actual[0] == expected[0]).mean(axis=(1, 2))
