"""BCCD: 364 photographs of blood under a microscope with a box around every cell.

Shenggan/BCCD_Dataset (MIT): 640x480 px, 4,888 boxes, a few dozen cells left unmarked where they
overlap.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from export.errors import DataError
from export.train.data.boxed import BoxedImage
from export.train.data.parquet import decode, read_splits

BCCD_FILE = "bccd.parquet"
BCCD_LABELS = ("RBC", "WBC", "Platelets")
WHERE_TO_GET_IT = (
    "--data must name a folder with bccd.parquet, columns split (train, val, test), name, image"
    " (JPEG or PNG bytes) and boxes (a list of label, xmin, ymin, xmax, ymax), made from"
    " github.com/Shenggan/BCCD_Dataset"
)

# For the model cards.
TRAINING_TEXT = """On the 292 photographs of the training and validation splits. Network, rates and
    augmentation were chosen with the 205 of the training split, scored on the 87 of the validation
    split; then all were used. Random quarter turns, mirroring, windows of different sizes and
    places, brightness, contrast and saturation; bfloat16 autocast."""
DATA_TEXT = f"""BCCD (github.com/Shenggan/BCCD_Dataset, MIT): 364 photographs of 640x480 px, 4,886
    boxes. It is not part of this project: {WHERE_TO_GET_IT}."""
LIMITS_TEXT = """It knows one laboratory's stain, microscope and magnification. Where red cells lie
    on top of each other the data set marks some and leaves out others, and so does the model: do
    not count cells with it. No medical device."""

Split = Literal["train", "val", "test"]


def read_bccd(data_dir: Path, *splits: Split) -> list[BoxedImage]:
    """Decode splits of ``bccd.parquet``, in the order of the file.

    Raises:
        DataError: the file is missing or holds something else.
    """
    path = data_dir / BCCD_FILE
    table = read_splits(path, ("name", "image", "boxes"), splits, WHERE_TO_GET_IT)
    try:
        return [_boxed_image(row) for row in table.to_pylist()]
    except (KeyError, TypeError, ValueError, OSError) as err:
        raise DataError(
            f"{path} holds something else than BCCD ({err}); {WHERE_TO_GET_IT}"
        ) from err


def _boxed_image(row: dict[str, Any]) -> BoxedImage:
    pixels = decode(row["image"])
    # PASCAL VOC counts pixels from 1, and the last pixel belongs to the box.
    boxes = np.array(
        [[box["xmin"] - 1, box["ymin"] - 1, box["xmax"], box["ymax"]] for box in row["boxes"]],
        np.float32,
    ).reshape(-1, 4)
    targets = np.array([BCCD_LABELS.index(box["label"]) for box in row["boxes"]], np.int64)
    # Two boxes of the set are a point: a click without a drag.
    is_box = np.all(boxes[:, 2:] - boxes[:, :2] > 1, axis=1)
    return BoxedImage(row["name"], pixels, boxes[is_box], targets[is_box])
