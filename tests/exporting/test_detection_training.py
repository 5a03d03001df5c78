import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.models import build
from export.models.detection.yolo import GridDetector
from export.models.detection.yolo_loss import yolo_loss
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import read_description
from export.train.data.boxed import BoxedImage
from export.train.detection import bccd_yolo, nuclei_yolo
from export.train.detection.augment import Augmentation
from export.train.detection.score import score_detector
from export.train.detection.training import detection_task
from export.train.detection.yolo_training import YoloRecipe, train_yolo
from export.train.loop import fit
from export.train.normalisation import normalise
from export.train.schedule import Schedule
from service.artifact.manifest import ImagePreprocessing

SIZE_PX = 64
PREPROCESSING = ImagePreprocessing(
    height=SIZE_PX, width=SIZE_PX, fit="letterbox", mean=(60.0,) * 3, std=(80.0,) * 3
)
RECIPE = replace(
    nuclei_yolo.RECIPE_OF_YOLO,
    description=nuclei_yolo.RECIPE_OF_YOLO.description.model_copy(
        update={
            "options": {
                "num_classes": 1,
                "width": 4,
                "depths": [1, 1, 1],
                "anchors": [[[12, 12]]],
                "head_depth": 1,
            },
            "preprocessing": PREPROCESSING,
        }
    ),
    preprocessing=PREPROCESSING,
    schedule=Schedule(epochs=6, batch_size=8, peak_learning_rate=0.02),
    augmentation=Augmentation(SIZE_PX, SIZE_PX, zoom=(0.8, 1.2)),
    passes=4,
)


def squares(seed: int) -> BoxedImage:
    """Four bright squares on black."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
    boxes = []
    for corner in rng.permutation(16)[:4]:
        side = int(rng.integers(10, 15))
        x, y = (int(16 * place + rng.integers(0, 2)) for place in divmod(corner, 4))
        pixels[y : y + side, x : x + side] = 220
        boxes.append([x, y, min(x + side, SIZE_PX), min(y + side, SIZE_PX)])
    return BoxedImage("", pixels, np.array(boxes, np.float32), np.zeros(4, np.int64))


IMAGES = [squares(seed) for seed in range(16)]


def test_a_recipe_trains_exports_scores_and_reports(tmp_path: Path) -> None:
    test = [squares(seed) for seed in range(100, 104)]
    weights = train_yolo(RECIPE, IMAGES, test, tmp_path)
    assert weights == tmp_path / "nuclei-yolo.safetensors"
    description = read_description(read_checkpoint(weights))
    assert description is not None
    score = score_detector(tmp_path / "artifact" / "nuclei-yolo" / "1", test)
    assert description.metrics == score.as_metrics()
    assert score.map50 > 0.8
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["score"]["map50"] == score.map50
    assert len(report["progression"]["mean_loss"]) == 6
    card = weights.with_suffix(".md").read_text()
    assert f"**{score.map50:.4f}**" in card
    assert "| nucleus |" in card


def test_the_batches_of_an_epoch_depend_on_the_generator_alone() -> None:
    task = detection_task(IMAGES, RECIPE.augmentation, 8, lambda network, batch: torch.zeros(()), 2)
    first, again, other = (
        list(task.batches(torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
    )
    assert len(first) == task.steps_per_epoch == 4
    assert all(
        torch.equal(one, two)
        for a, b in zip(first, again, strict=True)
        for one, two in zip(a, b, strict=True)
    )
    assert not torch.equal(first[0][0], other[0][0])


@pytest.mark.parametrize("module", [bccd_yolo, nuclei_yolo])
def test_a_shipped_detector_is_small_and_has_few_candidates(module) -> None:
    recipe: YoloRecipe = module.RECIPE_OF_YOLO
    network = build(recipe.description.architecture, **recipe.description.options).eval()
    assert isinstance(network, GridDetector)
    assert 2 * sum(tensor.numel() for tensor in network.state_dict().values()) < 2_500_000
    size = (recipe.preprocessing.height, recipe.preprocessing.width)
    with torch.inference_mode():
        boxes, _ = network.detect(torch.zeros(1, 3, *size))
    assert boxes.shape[1] <= 2000


def test_normalisation_equals_that_of_the_exported_graph() -> None:
    pixels = torch.full((1, 3, 2, 2), 140, dtype=torch.uint8)
    assert torch.equal(normalise(pixels, PREPROCESSING), torch.ones(1, 3, 2, 2))


def test_the_second_version_learns_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("yolo_v2", num_classes=1, width=2, anchors=[[[12, 12]]])

    def loss(network, batch):
        images, boxes, targets = batch
        return yolo_loss(network, network(normalise(images, PREPROCESSING)), boxes, targets)

    task = detection_task(IMAGES, RECIPE.augmentation, 8, loss)
    schedule = Schedule(epochs=4, batch_size=8, peak_learning_rate=0.01)
    progression = fit(network, task, schedule, tmp_path / "checkpoint.pt", torch.device("cpu"))
    assert progression.mean_loss[-1] < 0.85 * progression.mean_loss[0]
