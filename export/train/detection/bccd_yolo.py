"""Recipe ``bccd-yolo``: the cells of a blood smear, by a narrow YOLOv3."""

from pathlib import Path

from export.pytorch.description import WeightsDescription
from export.train.data.bccd import BCCD_LABELS, DATA_TEXT, LIMITS_TEXT, TRAINING_TEXT, read_bccd
from export.train.detection.augment import Augmentation
from export.train.detection.score import score_detector
from export.train.detection.yolo_training import YoloRecipe, train_yolo
from export.train.recipe import Floor, Recipe
from export.train.report import Subject
from export.train.schedule import Schedule
from service.artifact.manifest import ImagePreprocessing, Task
from service.artifact.sections import DetectionSection

NAME = "bccd-yolo"
HEIGHT_PX, WIDTH_PX = 240, 320

# Widths and heights in px of the input: the three clusters of the training boxes' sizes
# (`cluster_sizes`). Platelets get the fine grid, red and white cells the coarse one: 1,800
# candidates.
ANCHORS = [[[21, 20]], [[53, 51], [106, 96]]]

PREPROCESSING = ImagePreprocessing(
    height=HEIGHT_PX, width=WIDTH_PX, fit="letterbox", mean=(180.0,) * 3, std=(50.0,) * 3
)
SCHEDULE = Schedule(epochs=40, batch_size=16, peak_learning_rate=0.01, seed=0)

RECIPE_OF_YOLO = YoloRecipe(
    description=WeightsDescription(
        task=Task.DETECTION,
        architecture="yolo_v3",
        options={
            "num_classes": len(BCCD_LABELS),
            "width": 12,
            "depths": [1, 1, 2, 2],
            "anchors": ANCHORS,
            "head_depth": 1,
        },
        labels=BCCD_LABELS,
        preprocessing=PREPROCESSING,
        detection=DetectionSection(score_threshold=0.3, iou_threshold=0.5),
        recipe="export.train.detection.bccd_yolo",
        seed=SCHEDULE.seed,
        data="BCCD, training and validation splits",
        licence="Apache-2.0",
        metrics={},
    ),
    preprocessing=PREPROCESSING,
    subject=Subject(
        name=NAME,
        title=f"{NAME}: red cells, white cells and platelets in a blood smear",
        command=f"sightline train {NAME} --data DIR",
        network="""YOLOv3 (Redmon and Farhadi 2018) with three eighths of the usual width, four of
            its five stages and two grids, of 8 and of 16 px: 1,800 candidate boxes for each
            image.""",
        training=TRAINING_TEXT,
        data=DATA_TEXT,
        limits=LIMITS_TEXT,
        licence="The weights: Apache-2.0, as the project.",
    ),
    schedule=SCHEDULE,
    augmentation=Augmentation(
        HEIGHT_PX,
        WIDTH_PX,
        zoom=(0.4, 0.7),
        stretch=1.2,
        quarter_turns=True,
        brightness=0.1,
        contrast=1.3,
        saturation=1.4,
    ),
)


def run(data_dir: Path, output_dir: Path, epochs: int | None = None) -> Path:
    """Train, export, score, report; returns the weights file."""
    training, test = read_bccd(data_dir, "train", "val"), read_bccd(data_dir, "test")
    return train_yolo(RECIPE_OF_YOLO, training, test, output_dir, epochs)


def score_held_out(artifact_dir: Path, data_dir: Path) -> dict[str, float]:
    """Mean average precision of an artifact on the test split, in 0..1."""
    return score_detector(artifact_dir, read_bccd(data_dir, "test")).as_metrics()


RECIPE = Recipe(NAME, "BCCD, test split", run, score_held_out, (Floor("map50", at_least=0.75),))
