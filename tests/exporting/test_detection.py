import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.artifact.parity import open_session, run_session
from export.errors import GraphError, LabelsError
from export.models import build
from export.pytorch.exporter import export_module
from export.pytorch.heads.detection import prepare, same_boxes
from export.pytorch.network import ArtifactOptions, Network
from export.train.data.boxed import BoxedImage
from export.train.detection.score import score_detector
from service.artifact.manifest import (
    GOLDEN_FILE,
    MODEL_FILE,
    PARITY_FILE,
    ImagePreprocessing,
    Task,
    read_manifest,
)
from service.artifact.sections import DetectionSection

PREPROCESSING = ImagePreprocessing(
    height=32, width=48, fit="letterbox", mean=(120.0,) * 3, std=(60.0,) * 3
)
LABELS = ("hat", "cat")
PROPOSALS = 7


def yolo(num_classes: int = len(LABELS)) -> nn.Module:
    torch.manual_seed(1)
    return build(
        "yolo_v3",
        num_classes=num_classes,
        width=4,
        depths=[1, 1, 1],
        anchors=[[[9, 9]], [[20, 20], [30, 15]]],
        head_depth=1,
    )


class BrightRegions(nn.Module):
    """Scores each proposal by the brightness of its image: red for hats, green for cats."""

    def detect(self, pixels: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        colours = pixels.mean((2, 3))[:, None, :2].sigmoid()
        is_used = (proposals[..., 2:3] > proposals[..., :1]).float()
        return proposals, colours * is_used


class MarksTheLeftHalf(nn.Module):
    """Finds one cat, always in the same place of its input."""

    def detect(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        nothing = 0 * pixels[:, :1, :1, 0]  # [N, 1, 1]
        return nothing + torch.tensor([0.0, 0.0, 24.0, 32.0]), nothing + torch.tensor([0.0, 0.9])


def network(module: nn.Module, **section: object) -> Network:
    return Network(
        module=module,
        preprocessing=PREPROCESSING,
        labels=LABELS,
        architecture="tiny",
        task=Task.DETECTION,
        section=DetectionSection.model_validate(section),
    )


def export(module: nn.Module, output: Path, **section: object) -> Path:
    return export_module(*prepare(network(module, **section), ArtifactOptions("tiny")), output)


def test_a_detector_gives_its_candidates_through_onnx_runtime(tmp_path: Path) -> None:
    artifact_dir = export(yolo(), tmp_path, score_threshold=0.4, iou_threshold=0.6)
    manifest, _ = read_manifest(artifact_dir)
    assert manifest.task is Task.DETECTION
    assert manifest.detection == DetectionSection(score_threshold=0.4, iou_threshold=0.6)
    assert [tensor.axes for tensor in manifest.inputs] == [("batch", 32, 48, 3)]
    candidates = 8 * 12 + 2 * 4 * 6
    assert [tensor.axes for tensor in manifest.outputs] == [
        ("batch", candidates, 4),
        ("batch", candidates, len(LABELS)),
    ]
    golden = np.load(artifact_dir / GOLDEN_FILE)
    session = open_session(artifact_dir / MODEL_FILE)
    boxes, scores = run_session(session, [golden["images"]])
    np.testing.assert_allclose(boxes, golden["boxes"], atol=5e-3, rtol=1e-3)
    np.testing.assert_allclose(scores, golden["scores"], atol=5e-3, rtol=1e-3)
    results = json.loads((artifact_dir / PARITY_FILE).read_text())["results"]
    assert all(result["agreement"] >= 0.98 for result in results)


def test_a_detector_of_regions_takes_the_proposals_of_the_server(tmp_path: Path) -> None:
    artifact_dir = export(BrightRegions(), tmp_path, max_proposals=PROPOSALS)
    manifest, _ = read_manifest(artifact_dir)
    assert [tensor.axes for tensor in manifest.inputs][1] == ("batch", PROPOSALS, 4)
    golden = np.load(artifact_dir / GOLDEN_FILE)
    assert np.array_equal(golden["boxes"], golden["proposals"])
    assert (golden["proposals"][:, 0, 2] > 0).any()  # photographs have regions


class Silent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Backwards(nn.Module):
    def detect(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(pixels), 5, 2), torch.zeros(len(pixels), 5, 4)


@pytest.mark.parametrize(
    ("module", "error", "says"),
    [
        (Silent(), GraphError, "Silent has no method detect"),
        (Backwards(), GraphError, "not boxes"),
        (yolo(num_classes=3), LabelsError, "has 3 classes and there are 2 labels"),
    ],
    ids=["no detect", "boxes and scores swapped", "another class"],
)
def test_what_is_no_detector_is_refused(
    module: nn.Module, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        prepare(network(module), ArtifactOptions("tiny"))


def some_candidates() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (2, 30, 2))
    boxes = np.concatenate([corners, corners + 30], axis=2).astype(np.float32)
    return boxes, rng.random((2, 30, 2), dtype=np.float32)


def test_detectors_agree_in_any_order_of_their_candidates() -> None:
    boxes, scores = some_candidates()
    assert same_boxes((boxes[:, ::-1], scores[:, ::-1]), (boxes, scores)).tolist() == [1, 1]


def test_moved_boxes_and_swapped_classes_disagree() -> None:
    boxes, scores = some_candidates()
    moved = boxes.copy()
    moved[0] += 3
    swapped = scores.copy()
    swapped[1] = swapped[1, :, ::-1]
    shares = same_boxes((moved, swapped), (boxes, scores))
    assert shares[0] < 0.1
    assert shares[1] < 0.9


def test_a_detector_that_finds_what_another_does_not_disagrees() -> None:
    boxes, scores = some_candidates()
    nothing = np.zeros_like(boxes)
    assert same_boxes((nothing, scores), (boxes, scores)).tolist() == [0, 0]
    assert same_boxes((nothing, scores), (nothing, scores)).tolist() == [1, 1]


def test_scores_are_for_boxes_in_pixels_of_the_original_image(tmp_path: Path) -> None:
    artifact_dir = export(MarksTheLeftHalf(), tmp_path)
    # The input is 48 x 32, so this is shown at half its size, and nothing is padded.
    pixels = np.zeros((64, 96, 3), np.uint8)
    image = BoxedImage("", pixels, np.array([[0, 0, 48, 64]], np.float32), np.array([1]))
    assert score_detector(artifact_dir, [image]).map50_95 == pytest.approx(1)
    # A tall one is padded at its sides: 10 of 24 px that are marked show it, to its middle.
    tall = BoxedImage(
        "", pixels.transpose(1, 0, 2), np.array([[0, 0, 32, 96]], np.float32), np.array([1])
    )
    assert score_detector(artifact_dir, [tall]).map50 == pytest.approx(1)
    missed = replace(tall, boxes=np.array([[40, 0, 64, 96]], np.float32))
    assert score_detector(artifact_dir, [missed]).map50 == 0
