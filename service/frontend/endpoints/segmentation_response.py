"""From a segmenter's planes to the response for one image: mask, regions, maps, overlay."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.frontend.images.decode import ImageLimits, decode_upright
from service.processing.masks import (
    Sampling,
    indexed_png,
    outlines,
    palette_of,
    picture_png,
    run_lengths,
)
from service.processing.placement import Placement
from service.processing.segmentation_heads import Planes
from sightline.v1 import image_pb2
from sightline.v1 import segmentation_pb2 as pb

MAX_OVERLAY_SIDE_PX = 2048
OVERLAY_SHARE = 0.5
"""How much of the overlay's colour is the mask's."""
_ROUNDING = 1e-6


class MaskOptions(NamedTuple):
    """What to return of each image."""

    encoding: pb.MaskEncoding
    is_original_size: bool
    score_maps: tuple[int, ...]
    """Class indices."""
    with_polygons: bool


class MaskResponse(NamedTuple):
    """A mask as the client receives it."""

    mask: NDArray[np.uint8]  # [height, width]
    shares: tuple[float, float, float, float]  # the image's part of the planes
    counts: list[float]  # pixels of each class
    mean_scores: list[float]  # of each class, 0..1

    @classmethod
    def of(
        cls, planes: Planes, placement: Placement, size: tuple[int, int] | None = None
    ) -> "MaskResponse":
        """The part of a row's planes that shows the image.

        Args:
            planes: of the row.
            placement: of the image in it.
            size: height and width of the mask; None for the size of the planes.
        """
        plane = planes.mask.shape[0], planes.mask.shape[1]
        shares = placement.target_shares
        if size is None:
            left, top, right, bottom = shares
            size = (
                max(1, round((bottom - top) * plane[0])),
                max(1, round((right - left) * plane[1])),
            )
        sampling = Sampling.of(plane, shares, size)
        # Counted in the small planes; the mask that the client receives may be 100 times larger.
        weights = sampling.weights(plane).ravel()
        classes = planes.mask.ravel()
        counts = np.bincount(classes, weights, minlength=256)
        if planes.confidence is None:
            means = np.ones_like(counts)
        else:
            sums = np.bincount(classes, weights * planes.confidence.ravel(), minlength=256)
            means = sums / np.maximum(counts, 1) / 255
        return cls(sampling.show(planes.mask), shares, counts.tolist(), means.tolist())


def describe(
    answer: pb.Segmentation,
    planes: Planes,
    response: MaskResponse,
    manifest: Manifest,
    options: MaskOptions,
) -> None:
    """Write the mask and its regions into the answer."""
    answer.height, answer.width = response.mask.shape
    answer.mask_encoding = options.encoding
    strings: dict[int, bytes] = {}
    match options.encoding:
        case pb.MASK_ENCODING_COCO_RLE:
            strings = run_lengths(response.mask)
        case pb.MASK_ENCODING_RAW:
            answer.mask = response.mask.tobytes()
        case _:
            answer.mask = indexed_png(response.mask, colours_of(manifest))
    present = [index for index in range(len(manifest.labels)) if response.counts[index]]
    for index in sorted(present, key=lambda index: -response.counts[index]):
        region = answer.regions.add(
            label=manifest.labels[index],
            index=index,
            pixel_count=int(response.counts[index]),
            share=response.counts[index] / response.mask.size,
            mean_score=response.mean_scores[index],
            coco_rle=strings.get(index, b""),
        )
        if options.with_polygons:
            for corners in outlines(response.mask == index):
                region.polygons.add(points=corners.ravel())
    for index in options.score_maps:
        assert planes.scores is not None  # checked before the image was decoded
        shown = _stretch(planes.scores[index], response)
        answer.score_maps.add(label=manifest.labels[index], png=picture_png(shown))


def _stretch(plane: NDArray[np.uint8], response: MaskResponse) -> NDArray[np.uint8]:
    """The mask's part of a plane ``[h, w]``, interpolated to the mask's size."""
    rows, columns = plane.shape
    left, top, right, bottom = np.multiply(response.shares, (columns, rows, columns, rows)).tolist()
    # Crop first, so that the edge is not mixed with the padding beyond it.
    x, y = math.floor(left + _ROUNDING), math.floor(top + _ROUNDING)
    part = plane[y : math.ceil(bottom - _ROUNDING), x : math.ceil(right - _ROUNDING)]
    height, width = response.mask.shape
    step_x, step_y = (right - left) / width, (bottom - top) / height
    matrix = np.array(
        [[step_x, 0.0, left - x + step_x / 2 - 0.5], [0.0, step_y, top - y + step_y / 2 - 0.5]]
    )
    shown = cv2.warpAffine(
        part,
        matrix,
        (width, height),
        flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(shown, np.uint8)


def overlay_png(
    image: image_pb2.Image,
    mask: NDArray[np.uint8],
    colours: Sequence[tuple[int, int, int]],
    limits: ImageLimits,
) -> bytes:
    """The image at the mask's size, its colours mixed with the mask's."""
    shrink = min(1.0, MAX_OVERLAY_SIDE_PX / max(mask.shape))
    height, width = (max(1, round(side * shrink)) for side in mask.shape)
    pixels = decode_upright(image, width, height, limits)
    shown = Sampling.of((mask.shape[0], mask.shape[1]), (0, 0, 1, 1), (height, width)).show(mask)
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    mixed = cv2.addWeighted(pixels, 1 - OVERLAY_SHARE, table[shown], OVERLAY_SHARE, 0)
    return picture_png(np.asarray(mixed, np.uint8))


def colours_of(manifest: Manifest) -> tuple[tuple[int, int, int], ...]:
    """Red, green, blue of each class: from the artifact, or from a default palette."""
    section = manifest.segmentation
    return (section.colours if section else ()) or palette_of(len(manifest.labels))
