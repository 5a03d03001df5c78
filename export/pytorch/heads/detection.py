"""Detection: pixels in, candidate boxes and their scores out.

The graph has no threshold and no final suppression, because they belong to the request
(`service.processing.nms`).
"""

import copy
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from export.artifact.golden_images import golden_images, noise_images
from export.artifact.labels import check_label_count
from export.artifact.parity import Agreement, Outputs
from export.artifact.spec import ArtifactSpec, Rows
from export.artifact.tolerances import BOX_TOLERANCE, PICKED_BOX_TOLERANCE
from export.errors import GraphError
from export.pytorch.heads.classification import Normalise
from export.pytorch.network import MAX_BATCH_SIZE, ArtifactOptions, Network
from export.pytorch.reference import run_module
from service.artifact.manifest import ImagePreprocessing, Task, TensorSpec
from service.artifact.sections import DetectionSection
from service.processing.nms import pairwise_iou, suppress
from service.processing.region_proposals import propose_regions

LEAST_AGREEMENT = 0.98
COMPARED_BOXES = 20
"""The number of best boxes per image, after suppression, that are compared."""
SAME_BOX_IOU = 0.95


class Detects(Protocol):
    """The interface of a detector.

    ``detect(pixels [N, 3, H, W])``, or ``detect(pixels, proposals [N, R, 4])``, returns boxes
    ``[N, K, 4]``, ``x1, y1, x2, y2`` in px of the input, and scores ``[N, K, num_classes]``, 0..1.
    A network with ``picks_regions = True`` may return candidates with the same score in any order.
    """

    def detect(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Every candidate of normalised images."""
        ...


class Detector(nn.Module):
    """A network with normalisation before it; it returns all candidates.

    ``images [N, H, W, C] uint8 -> boxes [N, K, 4], scores [N, K, num_classes]``, both float32.
    """

    def __init__(self, network: nn.Module, preprocessing: ImagePreprocessing) -> None:
        super().__init__()
        self.normalise = Normalise(preprocessing)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates of unnormalised images."""
        return cast(Detects, self.network).detect(self.normalise(images))


class RegionDetector(Detector):
    """A `Detector` that also takes proposals.

    ``images [N, H, W, C] uint8, proposals [N, R, 4] float32 -> boxes, scores``; the proposals are
    in px of the input, unused rows zero.
    """

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]: it takes one more input
        self, images: Tensor, proposals: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Candidates of unnormalised images."""
        return cast(Detects, self.network).detect(self.normalise(images), proposals)


def prepare(network: Network, options: ArtifactOptions) -> tuple[nn.Module, ArtifactSpec]:
    """The module and the spec of a detector.

    Raises:
        ExportError: something is missing, or the network does not fit its labels.
    """
    preprocessing = network.known_preprocessing(options.name)
    section = cast(DetectionSection, network.section or DetectionSection())
    golden = with_proposals(golden_images(options.golden, preprocessing), section)
    probes = with_proposals(noise_images(preprocessing), section)
    kind = RegionDetector if section.max_proposals else Detector
    detector = kind(copy.deepcopy(network.module), preprocessing).cpu().float().eval()
    candidates = count_candidates(detector, golden, network.labels)
    is_picking = getattr(network.module, "picks_regions", False)
    row = (preprocessing.height, preprocessing.width, preprocessing.channels)
    inputs = (
        TensorSpec(name="images", dtype="uint8", axes=("batch", *row)),
        TensorSpec(name="proposals", dtype="float32", axes=("batch", section.max_proposals, 4)),
    )
    spec = ArtifactSpec(
        name=options.name,
        task=Task.DETECTION,
        inputs=inputs if section.max_proposals else inputs[:1],
        outputs=(
            TensorSpec(name="boxes", dtype="float32", axes=("batch", candidates, 4)),
            TensorSpec(
                name="scores", dtype="float32", axes=("batch", candidates, len(network.labels))
            ),
        ),
        golden=(golden,),
        probes=(probes,),
        agreement=Agreement("boxes", same_boxes, LEAST_AGREEMENT),
        labels=network.labels,
        preprocessing=preprocessing,
        section=section,
        architecture=network.architecture,
        origin=network.origin,
        metrics=options.metrics,
        version=options.version,
        max_batch_size=options.max_batch_size or MAX_BATCH_SIZE,
        tolerance=PICKED_BOX_TOLERANCE if is_picking else BOX_TOLERANCE,
    )
    return detector, spec


def with_proposals(images: NDArray[np.uint8], section: DetectionSection) -> Rows:
    """Rows of images, with the server's proposals for them if the graph takes proposals.

    Args:
        images: ``[N, H, W, C]``.
        section: has the number of proposals.
    """
    rows: dict[str, NDArray[Any]] = {"images": images}
    if section.max_proposals:
        rows["proposals"] = np.stack(
            [
                propose_regions(image, section.max_proposals, section.proposal_search)
                for image in images
            ]
        )
    return rows


def count_candidates(detector: Detector, rows: Rows, labels: tuple[str, ...]) -> int:
    """The number of candidates K, from an answer of the network.

    Raises:
        GraphError: it has no ``detect``, or does not return boxes and scores.
        LabelsError: it does not return one score for each label.
    """
    if not callable(getattr(detector.network, "detect", None)):
        raise GraphError(
            f"{type(detector.network).__name__} has no method detect(images) that returns boxes"
            " [N, K, 4] and scores [N, K, num_classes]; give it one"
        )
    shapes = [output.shape for output in run_module(detector, [each[:1] for each in rows.values()])]
    match shapes:
        case [(1, int(count), 4), (1, int(same), classes)] if count == same:
            order = "the order of training, without the background"
            check_label_count(classes, labels, "the network", order)
            return count
    raise GraphError(f"the network answers {shapes}, not boxes [N, K, 4] and scores [N, K, C]")


def same_boxes(actual: Outputs, expected: Outputs) -> NDArray[np.float64]:
    """The share of each image's best boxes that the other side has, too; the smaller of both.

    A best box is compared with all of the other side's candidates. Where boxes have the same score,
    rounding decides which one suppresses the other, and which one is the last to be kept.
    """
    rows = zip(*actual, *expected, strict=True)
    return np.array(
        [min(_found_share(ours[:2], ours[2:]), _found_share(ours[2:], ours[:2])) for ours in rows],
        np.float64,
    )


def _found_share(
    ours: tuple[NDArray[np.float32], ...], theirs: tuple[NDArray[np.float32], ...]
) -> float:
    """The share of one side's best boxes that are candidates of the other with the same score."""
    best = suppress(*ours, score_threshold=0.0, iou_threshold=0.5, max_detections=COMPARED_BOXES)
    if not len(best.boxes):
        return 1.0
    boxes, scores = theirs
    is_same = pairwise_iou(best.boxes, boxes) >= SAME_BOX_IOU
    has_same_score = np.abs(scores[:, best.labels].T - best.scores[:, None]) <= BOX_TOLERANCE.atol
    return float((is_same & has_same_score).any(axis=1).mean())
