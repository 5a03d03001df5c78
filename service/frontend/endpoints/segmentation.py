"""``sightline.v1.SegmentationService``: images in, a class for each pixel out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.artifact.manifest import Task
from service.frontend.call import CallContext
from service.frontend.endpoints.image_endpoint import ImageEndpoint
from service.frontend.endpoints.image_request import (
    Array,
    Complete,
    ImageRequest,
    item_error,
)
from service.frontend.endpoints.segmentation_response import (
    MaskOptions,
    MaskResponse,
    colours_of,
    describe,
    overlay_png,
)
from service.frontend.errors import InvalidInput, ServiceError
from service.frontend.images.decode import ImageLimits
from service.frontend.model_repository import ServedModel
from service.processing.placement import Placement
from service.processing.segmentation_heads import HEADS
from sightline.v1 import segmentation_pb2 as pb
from sightline.v1 import segmentation_pb2_grpc as pb_grpc

MAX_SCORE_MAPS = 16


class SegmentOptions(NamedTuple):
    """Checked options of a request."""

    mask: MaskOptions
    complete: Complete | None
    with_optional: bool


class SegmentationServicer(ImageEndpoint[SegmentOptions], pb_grpc.SegmentationServiceServicer):
    """Masks at the image's size, and the regions in them."""

    task = Task.SEGMENTATION
    is_exact = True
    stream_response = pb.SegmentStreamResponse

    def Segment(self, request: pb.SegmentRequest, context: CallContext) -> pb.SegmentResponse:
        """One call, one or many images."""
        return self._call(request, context)

    def SegmentStream(
        self, request_iterator: Iterator[pb.SegmentStreamRequest], context: CallContext
    ) -> Iterator[pb.SegmentStreamResponse]:
        """Many requests on one call, answered in order."""
        return self._stream(request_iterator, context)

    def _check_options(self, request: pb.SegmentRequest, model: ServedModel) -> SegmentOptions:
        if request.mask_encoding not in pb.MaskEncoding.values():
            raise InvalidInput(
                f"mask_encoding {request.mask_encoding} is unknown; use one of"
                f" {', '.join(pb.MaskEncoding.keys())}"
            )
        if request.mask_size not in pb.MaskSize.values():
            raise InvalidInput(
                f"mask_size {request.mask_size} is unknown; use one of"
                f" {', '.join(pb.MaskSize.keys())}"
            )
        encoding = request.mask_encoding or pb.MASK_ENCODING_PNG
        is_original = request.mask_size != pb.MASK_SIZE_MODEL
        maps = _score_maps(request.score_map_labels, model)
        wanted = MaskOptions(encoding, is_original, maps, request.include_polygons)
        return SegmentOptions(
            wanted, SizeCheck(self._image_requests.limits, wanted), with_optional=bool(maps)
        )

    def _respond(
        self,
        request: pb.SegmentRequest,
        image_request: ImageRequest,
        outputs: list[list[Array]],
        options: SegmentOptions,
    ) -> pb.SegmentResponse:
        manifest = image_request.model.manifest
        assert manifest.segmentation is not None
        head = HEADS[manifest.segmentation.head]
        response = pb.SegmentResponse(model=image_request.model.identity)
        for image, row in zip(request.images, image_request.rows, strict=True):
            result = response.results.add()
            if isinstance(row, ServiceError):
                result.error.CopyFrom(item_error(row))
                continue
            planes = head([each[row.row] for each in outputs[row.ticket]], manifest)
            size = (row.height, row.width) if options.mask.is_original_size else None
            response_mask = MaskResponse.of(planes, image_request.placement(row), size)
            describe(result.segmentation, planes, response_mask, manifest, options.mask)
            if request.include_overlay:
                result.segmentation.overlay_png = overlay_png(
                    image, response_mask.mask, colours_of(manifest), self._image_requests.limits
                )
        return response


class SizeCheck:
    """Refuses an image with a too large answer, before it is queued."""

    def __init__(self, limits: ImageLimits, wanted: MaskOptions) -> None:
        self._limits = limits
        self._wanted = wanted
        self._raw_bytes = 0

    def __call__(self, number: int, rows: Sequence[Array], placement: Placement) -> None:
        """Called for each image in turn.

        Raises:
            InvalidInput: the answer would be too large.
        """
        width, height = placement.image_width, placement.image_height
        if not self._wanted.is_original_size:
            left, top, right, bottom = placement.target
            width, height = right - left, bottom - top
        pixels, maps = width * height, len(self._wanted.score_maps)
        if (1 + maps) * pixels > self._limits.max_image_pixels:
            raise InvalidInput(
                f"a mask and {maps} score maps of {pixels:,} px each are more than the"
                f" {self._limits.max_image_pixels:,} px of one answer; ask for MASK_SIZE_MODEL, or"
                " for fewer score maps"
            )
        if self._wanted.encoding != pb.MASK_ENCODING_RAW:
            return
        if self._raw_bytes + pixels > self._limits.max_raw_mask_bytes:
            raise InvalidInput(
                "the raw masks of this request are over the"
                f" {self._limits.max_raw_mask_bytes:,} bytes that one message takes; ask for"
                " MASK_ENCODING_PNG or MASK_SIZE_MODEL, or send fewer images"
            )
        self._raw_bytes += pixels


def _score_maps(labels: Sequence[str], model: ServedModel) -> tuple[int, ...]:
    """The indices of the classes to return scores of."""
    manifest = model.manifest
    if not labels:
        return ()
    if len(labels) > MAX_SCORE_MAPS:
        raise InvalidInput(f"{len(labels)} score maps are requested; the limit is {MAX_SCORE_MAPS}")
    if not any(spec.on_request for spec in manifest.outputs):
        raise InvalidInput(
            f"{model.update.name!r} answers with masks only; leave score_map_labels empty"
        )
    if unknown := [label for label in labels if label not in manifest.labels]:
        raise InvalidInput(
            f"{model.update.name!r} has no class {unknown[0][:64]!r}; it has"
            f" {', '.join(manifest.labels[:20])}"
        )
    return tuple(manifest.labels.index(label) for label in labels)
