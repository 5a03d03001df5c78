"""``sightline.v1.DetectionService``: images in, boxes around their objects out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Task
from service.artifact.sections import DetectionSection
from service.frontend.call import CallContext
from service.frontend.endpoints.detection_response import describe
from service.frontend.endpoints.image_endpoint import ImageEndpoint
from service.frontend.endpoints.image_request import (
    Array,
    Complete,
    ImageRequest,
    item_error,
)
from service.frontend.errors import InvalidInput, ServiceError
from service.frontend.model_repository import ServedModel
from service.processing.detection_heads.candidates import Candidates
from service.processing.detection_heads.registry import HEADS
from service.processing.nms import Detections, Suppression, suppress
from service.processing.placement import Placement
from service.processing.region_proposals import propose_regions
from sightline.v1 import detection_pb2 as pb
from sightline.v1 import detection_pb2_grpc as pb_grpc

DEFAULT_MAX_DETECTIONS = 100
MAX_DETECTIONS = 1000

_SUPPRESSIONS = {
    pb.SUPPRESSION_UNSPECIFIED: Suppression.PER_CLASS,
    pb.SUPPRESSION_PER_CLASS: Suppression.PER_CLASS,
    pb.SUPPRESSION_CLASS_AGNOSTIC: Suppression.CLASS_AGNOSTIC,
    pb.SUPPRESSION_SOFT: Suppression.SOFT,
}


class DetectOptions(NamedTuple):
    """Checked options of a request."""

    score_threshold: float
    iou_threshold: float
    max_detections: int
    suppression: Suppression
    classes: tuple[int, ...]  # indices of the requested classes
    complete: Complete | None
    with_optional: bool = True


class DetectionServicer(ImageEndpoint[DetectOptions], pb_grpc.DetectionServiceServicer):
    """Thresholds belong to the request: requests with different thresholds share a batch."""

    task = Task.DETECTION
    is_exact = True
    stream_response = pb.DetectStreamResponse

    def Detect(self, request: pb.DetectRequest, context: CallContext) -> pb.DetectResponse:
        """One call, one or many images."""
        return self._call(request, context)

    def DetectStream(
        self, request_iterator: Iterator[pb.DetectStreamRequest], context: CallContext
    ) -> Iterator[pb.DetectStreamResponse]:
        """Many requests on one call, answered in order."""
        return self._stream(request_iterator, context)

    def _check_options(self, request: pb.DetectRequest, model: ServedModel) -> DetectOptions:
        section = model.manifest.detection
        assert section is not None  # checked when the version was taken over
        max_detections = DEFAULT_MAX_DETECTIONS
        if request.HasField("max_detections"):
            max_detections = request.max_detections
        if not 1 <= max_detections <= MAX_DETECTIONS:
            raise InvalidInput(
                f"max_detections is {max_detections}; 1 to {MAX_DETECTIONS} is valid"
            )
        if request.suppression not in _SUPPRESSIONS:
            raise InvalidInput(
                f"suppression {request.suppression} is unknown; use one of"
                f" {', '.join(pb.Suppression.keys())}"
            )
        return DetectOptions(
            _share_of(request, "score_threshold", section.score_threshold),
            _share_of(request, "iou_threshold", section.iou_threshold),
            max_detections,
            _SUPPRESSIONS[request.suppression],
            _wanted_classes(request.labels, model),
            _regions_of(request, section, model.update.name),
        )

    def _respond(
        self,
        request: pb.DetectRequest,
        image_request: ImageRequest,
        outputs: list[list[Array]],
        options: DetectOptions,
    ) -> pb.DetectResponse:
        manifest = image_request.model.manifest
        assert manifest.detection is not None
        head = HEADS[manifest.detection.head]
        response = pb.DetectResponse(model=image_request.model.identity)
        for row in image_request.rows:
            result = response.results.add()
            if isinstance(row, ServiceError):
                result.error.CopyFrom(item_error(row))
                continue
            candidates = head([each[row.row] for each in outputs[row.ticket]], manifest)
            placement = image_request.placement(row)
            found = choose(candidates, placement, options)
            describe(result.detections, found, candidates, placement, row, manifest)
        return response


def _share_of(request: pb.DetectRequest, name: str, default: float) -> float:
    """An optional field between 0 and 1."""
    value = getattr(request, name) if request.HasField(name) else default
    if not 0 <= value <= 1:  # true for NaN, too
        raise InvalidInput(f"{name} is {value}; it is between 0 and 1")
    return value


def _wanted_classes(labels: Sequence[str], model: ServedModel) -> tuple[int, ...]:
    known, wanted = model.manifest.labels, set(labels)
    if unknown := wanted.difference(known):
        raise InvalidInput(
            f"{model.update.name!r} has no class {min(unknown)[:64]!r}; it has"
            f" {', '.join(known[:20])}"
        )
    return tuple(i for i, label in enumerate(known) if not wanted or label in wanted)


def _regions_of(request: pb.DetectRequest, section: DetectionSection, name: str) -> Complete | None:
    """Fills the graph's second input; None for graphs that propose regions themselves."""
    most, given = section.max_proposals, request.proposals
    if not most:
        if given:
            raise InvalidInput(f"{name!r} proposes regions itself; leave proposals empty")
        return None
    if given and len(given) != len(request.images):
        raise InvalidInput(
            f"there are {len(given)} lists of proposals for {len(request.images)} images; send one"
            " list for each image, or no lists"
        )
    for number, each in enumerate(given):
        if not 1 <= len(each.boxes) <= most:
            raise InvalidInput(
                f"image {number} has {len(each.boxes):,} proposals; {name!r} takes 1 to {most}"
            )

    def complete(number: int, rows: Sequence[Array], placement: Placement) -> None:
        image, proposals = rows
        if given:
            proposals[:] = 0
            boxes = _given_boxes(given[number], placement)
            proposals[: len(boxes)] = placement.to_row(boxes)
        else:
            proposals[:] = propose_regions(image, most, section.proposal_search)

    return complete


def _given_boxes(proposals: pb.Proposals, placement: Placement) -> NDArray[np.float32]:
    """``[N, 4]`` in px of the image; raises unless each is a box inside the image."""
    boxes = np.array([(box.x1, box.y1, box.x2, box.y2) for box in proposals.boxes], np.float32)
    width, height = placement.image_width, placement.image_height
    is_inside = (
        (boxes[:, :2] >= 0).all(axis=1)
        & (boxes[:, 0] < boxes[:, 2])
        & (boxes[:, 1] < boxes[:, 3])
        & (boxes[:, 2] <= width)
        & (boxes[:, 3] <= height)
    )  # false for NaN, too
    if not is_inside.all():
        worst = int(is_inside.argmin())
        raise InvalidInput(
            f"proposal {worst} is {boxes[worst].tolist()}; x1 < x2 and y1 < y2 must lie in the"
            f" image, 0 to {width} across and 0 to {height} down"
        )
    return boxes


def choose(candidates: Candidates, placement: Placement, options: DetectOptions) -> Detections:
    """Apply a request's thresholds, in px of its image; labels are the manifest's indices."""
    scores = candidates.scores
    classes = options.classes
    if len(classes) < scores.shape[1]:
        scores = scores[:, list(classes)]
    found = suppress(
        placement.to_image(candidates.boxes),
        scores,
        score_threshold=options.score_threshold,
        iou_threshold=options.iou_threshold,
        max_detections=options.max_detections,
        suppression=options.suppression,
    )
    return found._replace(labels=np.array(classes, np.intp)[found.labels])
