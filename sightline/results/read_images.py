"""Messages about images -> ``Classification``, ``Segmentation``, ``Detections``.

A message that cannot be read is a ``ValueError``; the caller makes it a ``ServerError``.
"""

import numpy as np

from sightline.results.classification import Classification, Label
from sightline.results.detection import Detection, Detections, Keypoint
from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Timing
from sightline.results.png import decode_png
from sightline.results.segmentation import Region, Segmentation
from sightline.v1 import classification_pb2, detection_pb2, segmentation_pb2


def read_classification(
    answer: classification_pb2.Classification, model: ModelIdentity, timing: Timing
) -> Classification:
    """The labels of one image."""
    labels = (Label(name=each.name, index=each.index, score=each.score) for each in answer.labels)
    return Classification(labels=tuple(labels), model=model, timing=timing)


def read_segmentation(
    answer: segmentation_pb2.Segmentation, model: ModelIdentity, timing: Timing
) -> Segmentation:
    """The mask of one image."""
    height, width = answer.height, answer.width
    mask = decode_png(answer.mask, height=height, width=width)
    return Segmentation(
        mask=mask.pixels,
        regions=tuple(map(_read_region, answer.regions)),
        score_maps={
            each.label: decode_png(each.png, height=height, width=width).pixels
            for each in answer.score_maps
        },
        overlay_png=answer.overlay_png,
        palette=mask.palette,
        model=model,
        timing=timing,
    )


def _read_region(region: segmentation_pb2.Region) -> Region:
    outlines = (np.array(polygon.points, np.float32) for polygon in region.polygons)
    return Region(
        label=region.label,
        index=region.index,
        pixel_count=region.pixel_count,
        share=region.share,
        mean_score=region.mean_score,
        polygons=tuple(points.reshape(-1, 2) for points in outlines),
    )


def read_detections(
    answer: detection_pb2.Detections, model: ModelIdentity, timing: Timing
) -> Detections:
    """The boxes of one image."""
    size = (answer.image_height, answer.image_width)
    found = tuple(_read_detection(each, size) for each in answer.detections)
    return Detections(detections=found, image_size=size, model=model, timing=timing)


def _read_detection(found: detection_pb2.Detection, image_size: tuple[int, int]) -> Detection:
    box = found.box
    return Detection(
        box=(box.x1, box.y1, box.x2, box.y2),
        label=found.label,
        index=found.index,
        score=found.score,
        image_size=image_size,
        mask_rle=found.mask_coco_rle,
        keypoints=tuple(
            Keypoint(name=each.name, x=each.x, y=each.y, score=each.score)
            for each in found.keypoints
        ),
    )
