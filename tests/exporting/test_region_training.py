"""What the R-CNN family learns from, and that it learns: on drawings of two kinds of cells."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export.artifact.preprocess import preprocess_image
from export.models.detection import rcnn, sppnet
from export.models.detection.box_coding import box_iou
from export.models.detection.regions import IGNORED
from export.train.data.bccd import read_bccd
from export.train.data.boxed import BoxedImage
from export.train.detection import proposals as proposals_module
from export.train.detection.bccd_regions import AUGMENTATION, RCNN, RECIPES, SPPNET
from export.train.detection.proposals import find_proposals, propose
from export.train.detection.region_batches import (
    PROPOSED,
    box_batches,
    region_batches,
    with_proposals,
)
from export.train.detection.region_training import (
    FineTuning,
    fit_head,
    fit_on_regions,
    load_pretrained,
    region_features,
)
from service.artifact.manifest import ImagePreprocessing
from service.artifact.sections import DetectionSection

PREPROCESSING = ImagePreprocessing(
    height=60, width=80, fit="letterbox", mean=(128.0,) * 3, std=(60.0,) * 3
)
SECTION = DetectionSection(max_proposals=24)


def drawing(seed: int) -> BoxedImage:
    """Light squares and dark discs on grey, 120x160 px."""
    rng = np.random.default_rng(seed)
    pixels = np.full((120, 160, 3), 128, np.uint8)
    y, x = np.mgrid[:120, :160]
    centres = np.array([(30, 30), (90, 35), (40, 85), (125, 80)]) + rng.integers(-6, 7, (4, 2))
    for index, (cx, cy) in enumerate(centres):
        if index % 2:
            pixels[(x - cx) ** 2 + (y - cy) ** 2 < 20**2] = (60, 20, 80)
        else:
            pixels[cy - 20 : cy + 20, cx - 20 : cx + 20] = (230, 210, 160)
    boxes = np.concatenate([centres - 20, centres + 20], axis=1).astype(np.float32)
    return BoxedImage(f"drawing {seed}", pixels, boxes, np.array([0, 1, 0, 1]))


@pytest.fixture(scope="module")
def drawings() -> list[BoxedImage]:
    return [drawing(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def proposals(
    drawings: list[BoxedImage], tmp_path_factory: pytest.TempPathFactory
) -> list[np.ndarray]:
    return find_proposals(drawings, PREPROCESSING, SECTION, tmp_path_factory.mktemp("found"))


def test_proposals_are_searched_once(
    drawings: list[BoxedImage],
    proposals: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    search = proposals_module.propose_regions
    monkeypatch.setattr(
        proposals_module, "propose_regions", lambda *a: calls.append(a) or search(*a)
    )
    for _ in range(2):
        found = find_proposals(drawings, PREPROCESSING, SECTION, tmp_path)
        np.testing.assert_array_equal(np.stack(found), np.stack(proposals))
    assert len(calls) == 4
    fewer = SECTION.model_copy(update={"max_proposals": 5})
    assert find_proposals(drawings, PREPROCESSING, fewer, tmp_path)[0].shape == (5, 4)
    assert len(calls) == 8


def test_proposals_move_along_with_the_boxes(
    drawings: list[BoxedImage], proposals: list[np.ndarray]
) -> None:
    """A proposal that is a true box overlaps it wholly, however the photograph is changed."""
    image = drawings[0]
    exact = image.boxes / 2  # the network's input is half as large
    boxes = np.concatenate([exact, proposals[0] * 0], dtype=np.float32)
    offered = with_proposals(image, boxes, PREPROCESSING)
    assert offered.targets.tolist() == [0, 1, 0, 1] + [PROPOSED] * 4
    how = replace(AUGMENTATION, height=60, width=80)
    batches = region_batches([offered] * 3, how, batch_size=3, regions=12)
    _, regions, labels, boxes = next(iter(batches(torch.Generator().manual_seed(0))))
    things = labels > 0
    assert things.sum() >= 3
    overlaps = [
        box_iou(r[None], b[None]) for r, b in zip(regions[things], boxes[things], strict=True)
    ]
    torch.testing.assert_close(torch.cat(overlaps), torch.ones(len(overlaps), 1))


def test_an_epoch_depends_on_its_generator_alone(
    drawings: list[BoxedImage], proposals: list[np.ndarray]
) -> None:
    how = replace(AUGMENTATION, height=60, width=80)
    offered = [
        with_proposals(*each, PREPROCESSING) for each in zip(drawings, proposals, strict=True)
    ]
    for batches in (
        region_batches(offered, how, batch_size=2, regions=8),
        box_batches(drawings, how, batch_size=2),
    ):
        first, again, other = (
            list(batches(torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)
        )
        assert len(first) == 2
        for one, same in zip(first, again, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
        assert not torch.equal(first[0][0], other[0][0])


def test_an_image_without_proposals_is_trained_on_its_boxes(drawings: list[BoxedImage]) -> None:
    offered = with_proposals(drawings[0], np.zeros((3, 4), np.float32), PREPROCESSING)
    how = replace(AUGMENTATION, height=60, width=80, zoom=(0.5, 0.5), quarter_turns=False)
    batches = region_batches([offered], how, batch_size=1, regions=8)
    _, _, labels, _ = next(iter(batches(torch.Generator().manual_seed(0))))
    assert sorted(labels.unique().tolist())[0] == IGNORED
    assert (labels > 0).sum() == 2  # a quarter of eight


def test_r_cnn_starts_with_the_convolutions_of_the_classifier() -> None:
    network = RCNN.build()
    assert isinstance(network, rcnn.RCNN)
    before = network.body.get_parameter("layer1.0.conv1.weight").clone()
    load_pretrained(network)
    assert not torch.equal(network.body.get_parameter("layer1.0.conv1.weight"), before)
    assert network.body.get_buffer("bn1.running_var").std() > 0


def test_sppnet_learns_to_find_what_is_drawn(
    drawings: list[BoxedImage], proposals: list[np.ndarray], tmp_path: Path
) -> None:
    recipe = replace(
        SPPNET,
        description=SPPNET.description.model_copy(
            update={"labels": ("square", "disc"), "options": SMALL}
        ),
        preprocessing=PREPROCESSING,
        section=SECTION,
        schedule=replace(SPPNET.schedule, epochs=30, batch_size=2),
        augmentation=replace(AUGMENTATION, height=60, width=80, zoom=(0.5, 0.5), stretch=1.0),
        regions=24,
    )
    network = recipe.build()
    assert isinstance(network, sppnet.SPPNet)
    tuning = FineTuning(network, 2)
    progression = fit_on_regions(tuning, recipe, drawings, proposals, tmp_path)
    assert progression.mean_loss[-1] < progression.mean_loss[0]
    features = [
        region_features(network, *each, PREPROCESSING)
        for each in zip(drawings, proposals, strict=True)
    ]
    fit_head(network.head, features, seed=0)
    seen = features[0]
    with torch.inference_mode():
        claims = network.head.svm(torch.from_numpy(seen.features))
    assert torch.equal(claims[:4].argmax(1), torch.from_numpy(drawings[0].targets))


SMALL = {"num_classes": 2, "width": 8, "channels": 8, "levels": [2, 1], "representation_size": 16}


def test_most_cells_are_proposed(data_dir: Path) -> None:
    """What is not proposed cannot be found: this bounds the score."""
    images = read_bccd(data_dir, "train")[:4]
    found = [propose(preprocessed(image), RCNN.section) for image in images]
    overlaps = [
        box_iou(torch.from_numpy(image.boxes / 2), torch.from_numpy(boxes)).amax(1)
        for image, boxes in zip(images, found, strict=True)
    ]
    assert (torch.cat(overlaps) >= 0.5).float().mean() > 0.85


def preprocessed(image: BoxedImage) -> np.ndarray:
    return preprocess_image(Image.fromarray(image.pixels), RCNN.preprocessing)


def test_the_floors_are_those_of_the_issue() -> None:
    floors = {recipe.name: recipe.floors[0].at_least for recipe in RECIPES}
    assert floors == {
        "bccd-rcnn": 0.50,
        "bccd-sppnet": 0.55,
        "bccd-fast-rcnn": 0.55,
        "bccd-faster-rcnn": 0.75,
    }
