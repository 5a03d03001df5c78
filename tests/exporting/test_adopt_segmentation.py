"""Other people's segmenters, adopted through the command line, served and asked."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from PIL import Image

from service.artifact.manifest import read_manifest
from sightline.v1 import image_pb2, models_pb2, segmentation_pb2_grpc
from sightline.v1 import segmentation_pb2 as pb
from tests.support import foreign_segmenters as graphs
from tests.support.adopting import adopt
from tests.support.running import running_server

UNIT = ("--scale", "0-1")
# The graph, its flags, the head that must be found, and how sure it is of a red pixel.
SURE = 1 / (1 + np.exp(3 - 9) + 2 * np.exp(-9))
CASES = {
    "huggingface-segformer": (graphs.segformer(), (*UNIT, "--size", "64x96"), "logits", SURE),
    "fcn-of-opset-9": (graphs.old_fcn(), (*UNIT, "--size", "64x96"), "logits", SURE),
    "torchvision-fcn": (
        graphs.torch_fcn(),
        (*UNIT, "--size", "64x96", "--size", "96x64", "--size", "64"),
        "logits",
        SURE,
    ),
    "paddle-seg": (graphs.paddle_seg(), UNIT, "index", 1.0),
    "paddle-seg-int64": (graphs.paddle_seg(TensorProto.INT64), UNIT, "index", 1.0),
    "keras-unet": (graphs.keras_unet(), UNIT, "scores", SURE),
    "sigmoid-unet": (
        graphs.sigmoid_unet(),
        (*UNIT, "--head", "sigmoid"),
        "sigmoid",
        1 / (1 + np.exp(-4)),
    ),
}


def picture(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Dark above; below, red to the left and blue to the right. And its mask."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 2 :, : width // 2] = 1
    mask[height // 2 :, width // 2 :] = 3
    colours = np.array([[0, 0, 0], [229.5, 0, 0], [0, 229.5, 0], [0, 0, 229.5]])
    return colours[mask].astype(np.uint8), mask


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adopted")
    for name, (graph, flags, _, _) in CASES.items():
        result = adopt(
            folder,
            graph,
            *flags,
            "--save",
            str(folder / f"{name}-mask.png"),
            task="segmentation",
            name=name,
            labels=graphs.CLASSES,
            examples=(picture(64, 96)[0], picture(100, 80)[0]),
        )
        assert result.exit_code == 0, (name, result.output, result.exception)
        assert re.search(r"red 2[3-7]\.\d% of the picture", result.output), result.output
    return folder / "models"


@pytest.fixture(scope="module")
def stub(models: Path) -> Iterator[segmentation_pb2_grpc.SegmentationServiceStub]:
    with running_server(models) as server:
        server.wait_until_ready()
        with grpc.insecure_channel(server.target) as channel:
            yield segmentation_pb2_grpc.SegmentationServiceStub(channel)


def segment(stub, name: str, pixels: NDArray[np.uint8], **options: Any) -> pb.Segmentation:
    height, width, _ = pixels.shape
    image = image_pb2.Pixels(data=pixels.tobytes(), height=height, width=width, channels=3)
    request = pb.SegmentRequest(
        model=models_pb2.ModelSelector(name=name),
        images=[image_pb2.Image(pixels=image)],
        mask_encoding=pb.MASK_ENCODING_RAW,
        **options,
    )
    (result,) = stub.Segment(request, timeout=30).results
    return result.segmentation


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64), (150, 200)])
@pytest.mark.parametrize("name", CASES)
def test_an_adopted_segmenter_is_served_and_its_mask_fits_the_image(
    stub, name: str, size: tuple[int, int]
) -> None:
    pixels, expected = picture(*size)
    answer = segment(stub, name, pixels)
    mask = np.frombuffer(answer.mask, np.uint8).reshape(answer.height, answer.width)
    # Maps of a quarter of the sides blur the borders.
    least = 0.93 if CASES[name][0].graph.output[0].name == "logits" else 0.97
    assert (mask == expected).mean() > least
    sure = {region.label: region.mean_score for region in answer.regions}
    assert sure["red"] == pytest.approx(CASES[name][3], abs=0.06)


@pytest.mark.parametrize("name", CASES)
def test_the_manifest_has_recorded_answers_and_the_buckets(models: Path, name: str) -> None:
    manifest, _ = read_manifest(models / name / "1")
    assert manifest.provenance.golden == "recorded"
    assert manifest.outputs[0].dtype == "uint8"
    assert len(manifest.buckets) == (3 if name == "torchvision-fcn" else 0)


@pytest.mark.parametrize("name", ["huggingface-segformer", "keras-unet", "sigmoid-unet"])
def test_score_maps_are_made_on_request(stub, name: str) -> None:
    pixels, mask = picture(64, 96)
    answer = segment(stub, name, pixels, score_map_labels=["red"])
    scores = np.asarray(Image.open(io.BytesIO(answer.score_maps[0].png)))
    assert scores[mask == 1].mean() / 255 == pytest.approx(CASES[name][3], abs=0.06)
    assert scores[mask == 3].mean() < 25


@pytest.mark.parametrize(
    ("graph", "flags", "labels", "reason"),
    [
        (graphs.segformer(), (), graphs.CLASSES[:3], "has 4 classes"),
        (graphs.old_fcn(), ("--size", "64", "--size", "32"), graphs.CLASSES, "one --size only"),
        (graphs.torch_fcn(), ("--fit", "crop"), graphs.CLASSES, "must see the whole"),
        (
            graphs.torch_fcn(),
            ("--head", "detr"),
            graphs.CLASSES,
            "segmentation head 'detr' is unknown",
        ),
        (graphs.paddle_seg(), (), tuple(map(str, range(257))), "256 classes"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, graph: onnx.ModelProto, flags: tuple[str, ...], labels, reason: str
) -> None:
    example = picture(64, 96)[0]
    result = adopt(tmp_path, graph, *flags, task="segmentation", labels=labels, examples=(example,))
    assert result.exit_code == 1
    assert reason in " ".join(result.output.split())
    assert not (tmp_path / "models").exists()
