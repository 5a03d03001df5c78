"""Recipe ``nuclei-yolo``: cell nuclei under a fluorescence microscope, by a small YOLOv3."""

from pathlib import Path

from export.pytorch.description import WeightsDescription
from export.train.data.nuclei import NUCLEI_LABELS, WHERE_TO_GET_THEM, read_nuclei
from export.train.detection.augment import Augmentation
from export.train.detection.score import score_detector
from export.train.detection.yolo_training import YoloRecipe, train_yolo
from export.train.recipe import Floor, Recipe
from export.train.report import Subject
from export.train.schedule import Schedule
from service.artifact.manifest import ImagePreprocessing, Task
from service.artifact.sections import DetectionSection

NAME = "nuclei-yolo"
SIZE_PX = 256
ANCHORS = [[[12, 12]]]
"""Half of the mean size of the training nuclei, because the test photograph, 192x512 px, is halved
to fit the network's input."""

PREPROCESSING = ImagePreprocessing(
    height=SIZE_PX, width=SIZE_PX, fit="letterbox", mean=(60.0,) * 3, std=(40.0,) * 3
)
SCHEDULE = Schedule(epochs=60, batch_size=16, peak_learning_rate=0.01, seed=0)

RECIPE_OF_YOLO = YoloRecipe(
    description=WeightsDescription(
        task=Task.DETECTION,
        architecture="yolo_v3",
        options={
            "num_classes": len(NUCLEI_LABELS),
            "width": 12,
            "depths": [1, 1, 2],
            "anchors": ANCHORS,
            "head_depth": 1,
        },
        labels=NUCLEI_LABELS,
        preprocessing=PREPROCESSING,
        detection=DetectionSection(score_threshold=0.3, iou_threshold=0.4),
        recipe="export.train.detection.nuclei_yolo",
        seed=SCHEDULE.seed,
        data="the left five eighths of stardist's img2d.tif",
        licence="Apache-2.0",
        metrics={},
    ),
    preprocessing=PREPROCESSING,
    subject=Subject(
        name=NAME,
        title=f"{NAME}: cell nuclei in a fluorescence photograph",
        command=f"sightline train {NAME} --data DIR",
        network="""YOLOv3 (Redmon and Farhadi 2018) with three eighths of the usual width, three of
            its five stages and one grid, of 8 px: 1,024 candidate boxes for each image.""",
        training="""On the left five eighths of one photograph, with 86 nuclei, in random windows,
            quarter turns, mirror images, stretched by up to 1.2 and in different brightness and
            contrast; bfloat16 autocast. Width and length of the training were chosen by learning
            from a part of that and scoring the rest. The right three eighths of the photograph,
            with 40 nuclei, were scored once, after training.""",
        data=f"""One photograph of 512x512 px with the masks of its nuclei, of the package stardist
            (Weigert and Schmidt, BSD-3), which is not part of this project: {WHERE_TO_GET_THEM}.
            The few nuclei of which less than 6 px are seen at an edge are left out.""",
        limits="""It has seen one photograph. Nuclei must be bright on a dark ground and, after the
            whole image was made to fit into 256x256 px, 8 to 24 px large. No medical device.""",
        licence="The weights: Apache-2.0, as the project.",
    ),
    schedule=SCHEDULE,
    augmentation=Augmentation(
        SIZE_PX,
        SIZE_PX,
        zoom=(0.4, 0.8),
        stretch=1.2,
        quarter_turns=True,
        brightness=0.05,
        contrast=1.6,
    ),
    passes=64,
)


def run(data_dir: Path, output_dir: Path, epochs: int | None = None) -> Path:
    """Train, export, score, report; returns the weights file."""
    training, test = read_nuclei(data_dir, "train"), read_nuclei(data_dir, "test")
    return train_yolo(RECIPE_OF_YOLO, [training], [test], output_dir, epochs)


def score_held_out(artifact_dir: Path, data_dir: Path) -> dict[str, float]:
    """Average precision of an artifact on the right part of the photograph, in 0..1."""
    return score_detector(artifact_dir, [read_nuclei(data_dir, "test")]).as_metrics()


RECIPE = Recipe(
    NAME,
    "stardist's img2d.tif, right three eighths",
    run,
    score_held_out,
    (Floor("map50", at_least=0.80),),
)
