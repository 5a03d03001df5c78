"""Scores of detectors on held-out images, measured on the exported artifact itself.

Average precision is COCO's, by faster-coco-eval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray
from PIL import Image

from export.artifact.parity import open_session, run_session
from export.artifact.preprocess import preprocess_image
from export.errors import DataError
from export.pytorch.heads.detection import with_proposals
from export.train.data.boxed import BoxedImage
from service.artifact.manifest import MODEL_FILE, read_manifest
from service.processing.nms import Detections, suppress
from service.processing.placement import place

BATCH_SIZE = 8
SCORE_THRESHOLD = 0.01
"""Average precision includes improbable boxes; a user gets boxes above a higher threshold."""
MAX_DETECTIONS = 100
IOU_THRESHOLDS = 10
"""COCO's overlaps: 0.5, 0.55, ..., 0.95."""


@dataclass(frozen=True)
class DetectionScore:
    """Mean average precision over the classes, 0..1."""

    map50: float
    """A box counts as found if the overlap is 0.5 or more."""
    map50_95: float
    """The mean over the overlaps 0.5, 0.55, ..., 0.95."""
    ap50_by_label: dict[str, float]
    images: int

    def as_metrics(self) -> dict[str, float]:
        """The scores by their names in manifests and tables."""
        return {"map50": self.map50, "map50_95": self.map50_95}


def score_detector(artifact_dir: Path, images: Sequence[BoxedImage]) -> DetectionScore:
    """Run held-out images through ONNX Runtime and the server's suppression.

    Everything else is the artifact's own: preprocessing, labels, the threshold of the suppression,
    and the proposals, if the graph takes some.

    Args:
        artifact_dir: the artifact.
        images: of any size; their classes are the artifact's.
    """
    manifest, _ = read_manifest(artifact_dir.resolve())
    preprocessing, section = manifest.preprocessing, manifest.detection
    if preprocessing is None or section is None:
        raise DataError(f"{artifact_dir} is no detector; score it with the recipe of its name")
    session = open_session(artifact_dir / MODEL_FILE)
    found: list[Detections] = []
    for start in range(0, len(images), BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        rows = [preprocess_image(Image.fromarray(each.pixels), preprocessing) for each in batch]
        inputs = with_proposals(np.stack(rows), section)
        boxes, scores = run_session(session, list(inputs.values()))
        for each, its_boxes, its_scores in zip(batch, boxes, scores, strict=True):
            height, width = each.pixels.shape[:2]
            kept = suppress(
                place(width, height, preprocessing).to_image(its_boxes),
                its_scores,
                score_threshold=SCORE_THRESHOLD,
                iou_threshold=section.iou_threshold,
                max_detections=MAX_DETECTIONS,
            )
            found.append(kept)
    return average_precision(images, found, manifest.labels)


def average_precision(
    images: Sequence[BoxedImage], found: Sequence[Detections], labels: Sequence[str]
) -> DetectionScore:
    """Compare found boxes with true boxes, both in px of the images."""
    truth = COCO(
        {
            "images": [
                {"id": index, "height": image.pixels.shape[0], "width": image.pixels.shape[1]}
                for index, image in enumerate(images)
            ],
            "categories": [{"id": index, "name": label} for index, label in enumerate(labels)],
            "annotations": _true_boxes(images),
        }
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(_found_boxes(found)), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # [overlaps, recalls, classes, areas, limits]; the first area is any, the last limit is 100. -1:
    # there is no box of that class.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    if precision.shape[0] != IOU_THRESHOLDS:
        raise RuntimeError(f"faster-coco-eval gives {precision.shape[0]} overlaps")
    by_class = np.where(precision < 0, np.nan, precision).mean(axis=1)  # [overlaps, classes]
    return DetectionScore(
        map50=float(np.nanmean(by_class[0])),
        map50_95=float(np.nanmean(by_class)),
        ap50_by_label=dict(zip(labels, map(float, by_class[0]), strict=True)),
        images=len(images),
    )


def _true_boxes(images: Sequence[BoxedImage]) -> list[dict[str, Any]]:
    pairs = [
        (index, box, target)
        for index, image in enumerate(images)
        for box, target in zip(image.boxes, image.targets, strict=True)
    ]
    return [
        {"id": number, "iscrowd": 0, "area": float(np.prod(box[2:] - box[:2]))}
        | _entry(index, box, target)
        for number, (index, box, target) in enumerate(pairs, start=1)  # 0 would mean no match
    ]


def _found_boxes(found: Sequence[Detections]) -> list[dict[str, Any]]:
    return [
        {"score": float(score)} | _entry(index, box, label)
        for index, each in enumerate(found)
        for box, label, score in zip(each.boxes, each.labels, each.scores, strict=True)
    ]


def _entry(image: int, box: NDArray[np.float32], label: int) -> dict[str, Any]:
    x1, y1, x2, y2 = map(float, box)
    return {"image_id": image, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
