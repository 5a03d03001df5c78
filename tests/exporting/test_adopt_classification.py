import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from export.pytorch.graph import silenced
from service.artifact.manifest import read_manifest
from sightline.v1 import classification_pb2 as pb
from sightline.v1 import classification_pb2_grpc, image_pb2, models_pb2
from tests.support import foreign_graphs as graphs
from tests.support.adopting import BLUE, GREEN, LABELS, RED, adopt, softmax
from tests.support.running import running_server

IMAGENET_MEAN, IMAGENET_STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
CAFFE_MEAN = np.array([123.68, 116.779, 103.939])
CAFFE_FLAGS = ("--colours", "bgr", "--mean", "103.939,116.779,123.68")

# What each is adopted with, and which scores it must give a picture whose channels have this mean.
CASES = {
    "torch": (graphs.torch_classifier(), (), lambda m: softmax((m - IMAGENET_MEAN) / IMAGENET_STD)),
    "keras": (graphs.keras_classifier(), (), lambda m: softmax((m - 127.5) / 127.5)),
    "caffe-bgr": (
        graphs.caffe_classifier(),
        CAFFE_FLAGS,
        lambda m: softmax((m - CAFFE_MEAN) / 100),
    ),
    "half": (
        graphs.half_classifier(),
        ("--scale", "0-1", "--head", "logits"),
        lambda m: softmax(m / 255),
    ),
    "sklearn": (
        graphs.sklearn_classifier(),
        ("--size", "8", "--scale", "0-1"),
        lambda m: softmax(m / 255),
    ),
    "multi-label": (
        graphs.multi_label_classifier(),
        ("--head", "sigmoid", "--scale", "0-1", "--size", "8"),
        lambda m: 1 / (1 + np.exp(-20 * (m / 255 - 0.5))),
    ),
    "opset-7": (
        graphs.torch_classifier(7, batch=1, ir_version=3),
        ("--scale", "imagenet"),
        lambda m: softmax((m - IMAGENET_MEAN) / IMAGENET_STD),
    ),
    "newest-opset": (
        graphs.torch_classifier(26, ir_version=13),
        ("--scale", "imagenet"),
        lambda m: softmax((m - IMAGENET_MEAN) / IMAGENET_STD),
    ),
}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Asks a real server that serves all of them."""
    folder = tmp_path_factory.mktemp("adopted")
    for name, (graph, flags, _) in CASES.items():
        labels = None if name == "sklearn" else LABELS  # its maps name the classes
        result = adopt(folder, graph, *flags, name=name, labels=labels)
        assert result.exit_code == 0, (name, result.output, result.exception)
    with running_server(folder / "models") as server:
        server.wait_until_ready()
        with grpc.insecure_channel(server.target) as channel:
            stub = classification_pb2_grpc.ClassificationServiceStub(channel)

            def ask(model: str, *pictures: NDArray[np.uint8]) -> list[dict[str, float]]:
                images = [
                    image_pb2.Image(
                        pixels=image_pb2.Pixels(data=each.tobytes(), height=8, width=8, channels=3)
                    )
                    for each in pictures
                ]
                request = pb.ClassifyRequest(
                    model=models_pb2.ModelSelector(name=model), images=images
                )
                results = stub.Classify(request, timeout=30).results
                return [
                    {label.name: label.score for label in each.classification.labels}
                    for each in results
                ]

            yield ask


@pytest.mark.parametrize("name", CASES)
def test_an_adopted_classifier_is_served_and_answers_as_its_owner_knows(ask, name: str) -> None:
    pictures = (RED, GREEN, BLUE, RED)
    answers = ask(name, *pictures)
    for picture, answer, best in zip(pictures, answers, (*LABELS, "red"), strict=True):
        assert max(answer, key=answer.__getitem__) == best
        expected = CASES[name][2](picture.reshape(-1, 3).mean(axis=0).astype(np.float64))
        actual = [answer[label] for label in LABELS]
        np.testing.assert_allclose(actual, expected, atol=5e-3 if name == "half" else 1e-4)


def test_the_manifest_says_that_the_golden_answers_were_recorded(tmp_path: Path) -> None:
    result = adopt(tmp_path, graphs.torch_classifier())
    assert result.exit_code == 0, result.output
    artifact = tmp_path / "models" / "adopted" / "1"
    manifest, _ = read_manifest(artifact)
    assert manifest.provenance.golden == "recorded"
    assert manifest.labels == LABELS
    parity = json.loads((artifact / "parity.json").read_text())
    assert {each["batch_size"] for each in parity["results"]} == {1, 3, 8}
    with np.load(artifact / "golden.npz") as golden:
        assert golden["images"].shape == (2, 8, 8, 3)


def test_a_guess_is_called_a_guess(tmp_path: Path) -> None:
    assert "a guess" in " ".join(adopt(tmp_path, graphs.torch_classifier()).output.split())


def test_the_answer_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "answer.png"
    assert adopt(tmp_path, graphs.torch_classifier(), "--save", str(picture)).exit_code == 0
    assert picture.stat().st_size > 100


def test_fixed_batch_of_one_is_served_one_by_one(tmp_path: Path) -> None:
    adopt(tmp_path, graphs.caffe_classifier(), *CAFFE_FLAGS)
    manifest, _ = read_manifest(tmp_path / "models" / "adopted" / "1")
    assert manifest.batching.max_batch_size == 1


def test_a_graph_that_torch_exported_gives_the_answers_of_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)
    ).eval()
    with silenced():
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, 8, 8),),
            tmp_path / "network.onnx",
            dynamo=True,
            external_data=True,  # its default: the weights lie beside the graph
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert (tmp_path / "network.onnx.data").exists()
    graph = (tmp_path / "network.onnx").read_bytes()
    result = adopt(tmp_path, graph, "--scale", "0-1", "--head", "logits")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "models" / "adopted" / "1" / "golden.npz") as golden:
        pixels = torch.from_numpy(golden["images"]).permute(0, 3, 1, 2) / 255
        expected = network(pixels).softmax(dim=1).detach().numpy()
        np.testing.assert_allclose(golden["scores"], expected, atol=1e-5)
