"""The detections of one image, in px of the image: boxes, masks, keypoints."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.frontend.endpoints.image_request import Row
from service.processing.detection_heads.candidates import Candidates
from service.processing.masks import part_run_lengths
from service.processing.nms import Detections
from service.processing.placement import Placement
from sightline.v1 import detection_pb2 as pb

MASK_THRESHOLD = 0.5


def describe(
    answer: pb.Detections,
    found: Detections,
    candidates: Candidates,
    placement: Placement,
    row: Row,
    manifest: Manifest,
) -> None:
    """Write the detections into the answer."""
    answer.image_height, answer.image_width = row.height, row.width
    rows = zip(*(each.tolist() for each in found), strict=True)
    for (x1, y1, x2, y2), label, score, index in rows:
        detection = answer.detections.add(
            box=pb.Box(x1=x1, y1=y1, x2=x2, y2=y2),
            label=manifest.labels[label],
            index=label,
            score=min(1.0, score),
        )
        if candidates.masks is not None:
            detection.mask_coco_rle = _mask_in_image(
                candidates.masks[index], (x1, y1, x2, y2), placement
            )
        if candidates.keypoints is not None:
            _add_keypoints(detection, candidates.keypoints[index], placement, manifest)


def _mask_in_image(
    mask: NDArray[np.float32], box: tuple[float, float, float, float], placement: Placement
) -> bytes:
    """An object's mask ``[h, w]`` of the row -> run lengths at the image's size, within its box.

    Only the pixels of the box are made: an image may be large and have many objects.
    """
    x1, y1 = math.floor(box[0]), math.floor(box[1])
    x2, y2 = math.ceil(box[2]), math.ceil(box[3])
    corners = np.array([[x1, y1, x2, y2]], np.float32)
    left, top, right, bottom = placement.to_row(corners)[0].tolist()
    scale_x, scale_y = mask.shape[1] / placement.row_width, mask.shape[0] / placement.row_height
    step_x = (right - left) * scale_x / (x2 - x1)
    step_y = (bottom - top) * scale_y / (y2 - y1)
    matrix = np.array(
        [
            [step_x, 0.0, left * scale_x + step_x / 2 - 0.5],
            [0.0, step_y, top * scale_y + step_y / 2 - 0.5],
        ]
    )
    part = cv2.warpAffine(
        mask,
        matrix,
        (x2 - x1, y2 - y1),
        flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    size = placement.image_height, placement.image_width
    return part_run_lengths(np.asarray(part) > MASK_THRESHOLD, x1, y1, size)


def _add_keypoints(
    detection: pb.Detection,
    keypoints: NDArray[np.float32],
    placement: Placement,
    manifest: Manifest,
) -> None:
    """Keypoints ``[P, 3]`` of the row, in px of the image."""
    assert manifest.detection is not None
    points = placement.to_image(np.tile(keypoints[:, :2], 2))[:, :2]
    names = manifest.detection.keypoints or [str(number) for number in range(len(points))]
    for (x, y), score, name in zip(points.tolist(), keypoints[:, 2].tolist(), names, strict=True):
        detection.keypoints.add(x=x, y=y, score=score, name=name)
