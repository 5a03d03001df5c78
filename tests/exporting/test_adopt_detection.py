"""Other people's detectors, adopted through the command line; their answers are known."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from faster_coco_eval.core.mask import decode

from export.adoption.heads.detection import HEADS as PROPOSED_HEADS
from service.artifact.manifest import read_manifest
from service.processing.detection_heads.registry import HEADS
from service.processing.nms import suppress
from sightline.v1 import detection_pb2 as pb
from sightline.v1 import detection_pb2_grpc, image_pb2, models_pb2
from tests.support import foreign_detectors as graphs
from tests.support.adopting import LABELS, adopt
from tests.support.running import running_server

BOX = (5, 3, 17, 11)
RED = 230 / 255
DETR_SCORES = np.exp([10 * RED, 10 * 20 / 255, 10 * 40 / 255, 5])


def picture(colour: tuple[int, int, int] = (230, 20, 40)) -> np.ndarray:
    """A bright rectangle in the dark."""
    pixels = np.zeros((graphs.SIDE, graphs.SIDE, 3), np.uint8)
    x1, y1, x2, y2 = BOX
    pixels[y1:y2, x1:x2] = colour
    return pixels


# The graph, its flags, the head that must be proposed, and the score of a rectangle of `RED`.
CASES = {
    "ultralytics-yolov8": (graphs.yolov8(), (), "yolov8", RED),
    "ultralytics-yolov8-seg": (graphs.yolov8_segment(), (), "yolov8-segment", RED),
    "ultralytics-yolov8-pose": (graphs.yolov8_pose(), (), "yolov8-pose", RED),
    "ultralytics-yolov10": (graphs.end_to_end(), (), "end-to-end", RED),
    "ultralytics-yolov5": (graphs.yolov5(), (), "yolov5", RED * 0.6),
    "megvii-yolox": (graphs.yolox(), (), "yolox", RED),
    "yolov7-end2end": (graphs.yolov7_end_to_end(), (), "yolov7-end-to-end", RED),
    "tensorrt-efficient-nms": (graphs.efficient_nms(), (), "efficient-nms", RED),
    "torchvision-faster-rcnn": (
        graphs.torchvision_faster_rcnn(),
        ("--size", "32"),
        "torchvision",
        RED,
    ),
    "nvidia-ssd": (graphs.ssd(), ("--head", "ssd"), "ssd", RED),
    "onnx-zoo-ssd": (graphs.ssd_chosen(), (), "ssd-chosen", RED),
    "tensorflow-ssd": (graphs.tensorflow_ssd(), ("--size", "32"), "tensorflow", RED),
    "huggingface-detr": (graphs.detr(), (), "detr", DETR_SCORES[0] / DETR_SCORES.sum()),
    "huggingface-rt-detr": (graphs.rt_detr(), (), "rt-detr", 1 / (1 + np.exp(-10 * (RED - 0.5)))),
    "mmdetection-fcos": (graphs.fcos(are_strides=False), (), "fcos", RED**0.5),
    "torchvision-fcos": (
        graphs.fcos(are_strides=True),
        ("--head", "fcos-strides"),
        "fcos-strides",
        RED**0.5,
    ),
    "paddle-detection": (graphs.paddle(), ("--freeze", "scale_factor=1,1"), "paddle", RED),
}


def test_every_head_has_a_graph() -> None:
    assert {case[2] for case in CASES.values()} | {"candidates"} == set(HEADS)
    assert set(PROPOSED_HEADS) | {"yolov8-pose"} == set(HEADS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with all of them."""
    folder = tmp_path_factory.mktemp("adopted")
    examples = (picture(), picture((10, 30, 250)), np.zeros_like(picture()))
    for name, (graph, flags, _, _) in CASES.items():
        result = adopt(folder, graph, *flags, task="detection", name=name, examples=examples)
        assert result.exit_code == 0, (name, result.output, result.exception)
    return folder / "models"


@pytest.fixture(scope="module")
def stub(models: Path) -> Iterator[detection_pb2_grpc.DetectionServiceStub]:
    with running_server(models) as server:
        server.wait_until_ready()
        with grpc.insecure_channel(server.target) as channel:
            yield detection_pb2_grpc.DetectionServiceStub(channel)


@pytest.mark.parametrize("name", CASES)
def test_the_head_finds_the_rectangle(models: Path, name: str) -> None:
    _, _, head, expected = CASES[name]
    manifest, _ = read_manifest(models / name / "1")
    assert manifest.detection is not None
    assert manifest.detection.head == head
    with np.load(models / name / "1" / "golden.npz") as golden:
        outputs = [golden[spec.name] for spec in manifest.outputs]
    for row, (label, score) in enumerate([("red", expected), ("blue", None), (None, None)]):
        candidates = HEADS[head]([each[row] for each in outputs], manifest)
        found = suppress(
            candidates.boxes,
            candidates.scores,
            score_threshold=0.48,
            iou_threshold=0.5,
            max_detections=10,
        )
        assert [manifest.labels[index] for index in found.labels] == ([label] if label else [])
        if label:
            np.testing.assert_allclose(found.boxes[0], BOX, atol=0.1)
        if score:
            assert found.scores[0] == pytest.approx(score, abs=0.01)


def detect(stub: detection_pb2_grpc.DetectionServiceStub, name: str) -> pb.Detection:
    """The one thing in a picture of twice the size and other proportions."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[12:32, 10:34] = (230, 20, 40)
    image = image_pb2.Pixels(data=pixels.tobytes(), height=48, width=64, channels=3)
    request = pb.DetectRequest(
        model=models_pb2.ModelSelector(name=name),
        images=[image_pb2.Image(pixels=image)] * 3,
        score_threshold=0.75 if "fcos" in name else 0.48,  # letterboxed with a grey of 0.45
    )
    results = stub.Detect(request, timeout=30).results
    assert len({each.detections.SerializeToString() for each in results}) == 1
    (detection,) = results[0].detections.detections
    return detection


@pytest.mark.parametrize("name", CASES)
def test_an_adopted_detector_is_served_and_boxes_are_in_pixels_of_the_image(
    stub, name: str
) -> None:
    detection = detect(stub, name)
    assert detection.label == "red"
    box = detection.box
    assert (box.x1, box.y1, box.x2, box.y2) == pytest.approx((10, 12, 34, 32), abs=0.3)


def test_masks_of_a_segmenting_detector_are_returned(stub) -> None:
    detection = detect(stub, "ultralytics-yolov8-seg")
    mask = decode({"size": [48, 64], "counts": detection.mask_coco_rle})
    expected = np.zeros((48, 64), np.uint8)
    expected[12:32, 10:34] = 1
    union, shared = (mask | expected).sum(), (mask & expected).sum()
    assert shared / union > 0.6  # the prototypes have an eighth of its sides


def test_keypoints_of_a_pose_model_are_returned(stub) -> None:
    points = detect(stub, "ultralytics-yolov8-pose").keypoints
    assert [point.name for point in points] == ["point 1", "point 2"]
    places = [(point.x, point.y, point.score) for point in points]
    assert places[0] == pytest.approx((10, 12, 1), abs=0.3)
    assert places[1] == pytest.approx((34, 32, 1), abs=0.3)


@pytest.mark.parametrize(
    ("graph", "flags", "labels", "reason"),
    [
        (
            graphs.yolov8(),
            (),
            LABELS[:2],
            "metadata name 3 classes",
        ),
        (graphs.yolov8(), ("--head", "yolov8"), (*LABELS, "more"), "there are 4 labels"),
        (graphs.detr(), ("--head", "fcos"), LABELS, "do not fit the head fcos"),
        (graphs.yolov5(), ("--head", "yolov8-pose"), LABELS, "kpt_shape"),
        (graphs.paddle(), (), LABELS, "--freeze scale_factor=1,1"),
        (graphs.paddle(), ("--freeze", "scale_factor=1"), LABELS, "gives 1 values"),
        (graphs.ssd(), ("--max-batch-size", "0"), LABELS, ""),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, graph: onnx.ModelProto, flags: tuple[str, ...], labels, reason: str
) -> None:
    result = adopt(tmp_path, graph, *flags, task="detection", labels=labels, examples=(picture(),))
    assert result.exit_code != 0
    assert reason in " ".join(result.output.split())
    assert not (tmp_path / "models").exists()
