"""``sightline.v1.SegmentationService``: photos in, a class for each pixel out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput, ServiceError
from service.image_endpoint import ImageEndpoint
from service.image_questions import Array, Complete, Question, Row, item_error
from service.images import ImageLimits, decode_upright
from service.interceptors import CallContext
from service.manifest import Manifest, Task
from service.masks import (
    Sampling,
    indexed_png,
    outlines,
    palette_of,
    picture_png,
    run_lengths,
)
from service.placement import Placement
from service.repository import ServedModel
from service.segmentation_heads import HEADS, Planes
from sightline.v1 import image_pb2
from sightline.v1 import segmentation_pb2 as pb
from sightline.v1 import segmentation_pb2_grpc as pb_grpc

MAX_SCORE_MAPS = 16
MAX_OVERLAY_SIDE_PX = 2048
OVERLAY_SHARE = 0.5
"""How much of the overlay's colour is the mask's."""


class _Options(NamedTuple):
    encoding: pb.MaskEncoding
    is_original_size: bool
    score_maps: tuple[int, ...]  # class indices
    complete: Complete | None
    with_optional: bool


class SegmentationServicer(ImageEndpoint[_Options], pb_grpc.SegmentationServiceServicer):
    """Masks at the caller's size, and what is in them."""

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

    def _check_options(self, request: pb.SegmentRequest, model: ServedModel) -> _Options:
        if request.mask_encoding not in pb.MaskEncoding.values():
            raise InvalidInput(f"mask_encoding {request.mask_encoding} is none that there is")
        if request.mask_size not in pb.MaskSize.values():
            raise InvalidInput(f"mask_size {request.mask_size} is none that there is")
        encoding = request.mask_encoding or pb.MASK_ENCODING_PNG
        is_original = request.mask_size != pb.MASK_SIZE_MODEL
        maps = _score_maps(request.score_map_labels, model)
        size_check = _SizeCheck(
            self._asker.limits,
            planes=1 + len(maps),
            is_raw=encoding == pb.MASK_ENCODING_RAW,
            is_original=is_original,
        )
        return _Options(encoding, is_original, maps, size_check, with_optional=bool(maps))

    def _respond(
        self,
        request: pb.SegmentRequest,
        question: Question,
        outputs: list[list[Array]],
        options: _Options,
    ) -> pb.SegmentResponse:
        manifest = question.model.manifest
        assert manifest.segmentation is not None
        head = HEADS[manifest.segmentation.head]
        response = pb.SegmentResponse(model=question.model.identity)
        for image, row in zip(request.images, question.rows, strict=True):
            result = response.results.add()
            if isinstance(row, ServiceError):
                result.error.CopyFrom(item_error(row))
                continue
            planes = head([each[row.row] for each in outputs[row.part]], manifest)
            view = _View.of(planes, question.placement(row), row, options)
            _describe(result.segmentation, planes, view, manifest, request, options)
            if request.include_overlay:
                result.segmentation.overlay_png = _overlay(
                    image, view.mask, colours_of(manifest), self._asker.limits
                )
        return response


class _SizeCheck:
    """Refuses an image whose answer would be too large, before it is queued."""

    def __init__(
        self, limits: ImageLimits, *, planes: int, is_raw: bool, is_original: bool
    ) -> None:
        self._limits = limits
        self._planes = planes
        self._is_raw = is_raw
        self._is_original = is_original
        self._raw_bytes = 0

    def __call__(self, number: int, rows: Sequence[Array], placement: Placement) -> None:
        if not self._is_original:
            return
        pixels = placement.image_width * placement.image_height
        if self._planes * pixels > self._limits.max_image_pixels:
            raise InvalidInput(
                f"a mask and {self._planes - 1} score maps of {pixels:,} px each are more than the"
                f" {self._limits.max_image_pixels:,} px of one answer; ask for MASK_SIZE_MODEL, or"
                " for fewer score maps"
            )
        if self._is_raw and self._raw_bytes + pixels > self._limits.max_raw_mask_bytes:
            raise InvalidInput(
                "the raw masks of this request are over the"
                f" {self._limits.max_raw_mask_bytes:,} bytes that one message takes; ask for"
                " MASK_ENCODING_PNG or MASK_SIZE_MODEL, or send fewer images"
            )
        self._raw_bytes += pixels


def _score_maps(labels: Sequence[str], model: ServedModel) -> tuple[int, ...]:
    """The indices of the classes whose scores are wanted."""
    manifest = model.manifest
    if not labels:
        return ()
    if len(labels) > MAX_SCORE_MAPS:
        raise InvalidInput(f"{len(labels)} score maps are asked for; {MAX_SCORE_MAPS} is the most")
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


class _View(NamedTuple):
    """A mask as the caller gets it."""

    mask: NDArray[np.uint8]  # [height, width]
    part: tuple[float, float, float, float]  # of the planes, as shares of their sides
    counts: list[float]  # pixels of each class
    mean_scores: list[float]  # of each class, 0..1

    @classmethod
    def of(cls, planes: Planes, placement: Placement, row: Row, options: _Options) -> "_View":
        plane = planes.mask.shape[0], planes.mask.shape[1]
        part = placement.target_shares
        size = row.height, row.width
        if not options.is_original_size:
            left, top, right, bottom = part
            size = (
                max(1, round((bottom - top) * plane[0])),
                max(1, round((right - left) * plane[1])),
            )
        sampling = Sampling.of(plane, part, size)
        # Counted where the planes are small; what the caller gets may be a hundred times larger.
        weights = sampling.weights(plane).ravel()
        classes = planes.mask.ravel()
        counts = np.bincount(classes, weights, minlength=256)
        if planes.confidence is None:
            means = np.ones_like(counts)
        else:
            sums = np.bincount(classes, weights * planes.confidence.ravel(), minlength=256)
            means = sums / np.maximum(counts, 1) / 255
        return cls(sampling.show(planes.mask), part, counts.tolist(), means.tolist())


def _describe(
    answer: pb.Segmentation,
    planes: Planes,
    view: _View,
    manifest: Manifest,
    request: pb.SegmentRequest,
    options: _Options,
) -> None:
    """Write the mask and what is in it into the answer."""
    answer.height, answer.width = view.mask.shape
    answer.mask_encoding = options.encoding
    strings: dict[int, bytes] = {}
    match options.encoding:
        case pb.MASK_ENCODING_COCO_RLE:
            strings = run_lengths(view.mask)
        case pb.MASK_ENCODING_RAW:
            answer.mask = view.mask.tobytes()
        case _:
            answer.mask = indexed_png(view.mask, colours_of(manifest))
    present = [index for index in range(len(manifest.labels)) if view.counts[index]]
    for index in sorted(present, key=lambda index: -view.counts[index]):
        region = answer.regions.add(
            label=manifest.labels[index],
            index=index,
            pixel_count=int(view.counts[index]),
            share=view.counts[index] / view.mask.size,
            mean_score=view.mean_scores[index],
            coco_rle=strings.get(index, b""),
        )
        if request.include_polygons:
            for corners in outlines(view.mask == index):
                region.polygons.add(points=corners.ravel())
    for index in options.score_maps:
        assert planes.scores is not None  # the graph has it, as was checked
        shown = _stretch(planes.scores[index], view)
        answer.score_maps.add(label=manifest.labels[index], png=picture_png(shown))


def _stretch(plane: NDArray[np.uint8], view: _View) -> NDArray[np.uint8]:
    """The mask's part of a plane ``[h, w]``, interpolated to the mask's size."""
    left, top, right, bottom = view.part
    rows, columns = plane.shape
    height, width = view.mask.shape
    step_x, step_y = (right - left) * columns / width, (bottom - top) * rows / height
    matrix = np.array(
        [
            [step_x, 0.0, left * columns + step_x / 2 - 0.5],
            [0.0, step_y, top * rows + step_y / 2 - 0.5],
        ]
    )
    shown = cv2.warpAffine(
        plane,
        matrix,
        (width, height),
        flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(shown, np.uint8)


def _overlay(
    image: image_pb2.Image,
    mask: NDArray[np.uint8],
    colours: Sequence[tuple[int, int, int]],
    limits: ImageLimits,
) -> bytes:
    """The image at the mask's size, its colours mixed with the mask's."""
    shrink = min(1.0, MAX_OVERLAY_SIDE_PX / max(mask.shape))
    height, width = (max(1, round(side * shrink)) for side in mask.shape)
    picture = decode_upright(image, width, height, limits)
    shown = Sampling.of((mask.shape[0], mask.shape[1]), (0, 0, 1, 1), (height, width)).show(mask)
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    mixed = cv2.addWeighted(picture, 1 - OVERLAY_SHARE, table[shown], OVERLAY_SHARE, 0)
    return picture_png(np.asarray(mixed, np.uint8))


def colours_of(manifest: Manifest) -> tuple[tuple[int, int, int], ...]:
    """Red, green, blue of each class, as the artifact has them, or made up."""
    section = manifest.segmentation
    return (section.colours if section else ()) or palette_of(len(manifest.labels))
