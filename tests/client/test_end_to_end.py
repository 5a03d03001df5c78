"""Both clients and the command line against the real server, with models one can check by eye."""

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline import ItemFailed
from tests.support.running import Server, running_server
from tests.support.small_models import BOXES, SIDE, write_detector, write_segmenter


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("models")
    write_segmenter(repository)
    write_detector(repository)
    with running_server(repository) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def target(server: Server) -> str:
    return server.target


def half_red(height: int, width: int) -> np.ndarray:
    """`[H, W, 3]`: red on the left, black on the right."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[:, : width // 2, 0] = 255
    return photo


def test_a_mask_has_the_size_of_its_image_and_agrees_with_its_regions(client):
    answer = client.segment(half_red(120, 200), model="red", score_maps=["red"])

    assert answer.mask.shape == (120, 200)
    assert (answer.mask[:, :96] == 1).all()
    assert (answer.mask[:, 104:] == 0).all()
    for region in answer.regions:
        assert region.pixel_count == pytest.approx((answer.mask == region.index).sum(), rel=0.05)
        assert region.mean_score > 0.9
    assert answer.score_maps["red"].shape == (120, 200)
    assert answer.score_maps["red"][3:-3, :90].min() > 250
    assert answer.palette[1].tolist() == [255, 0, 0]
    assert answer.model.name == "red"


def test_overlay_and_polygons_are_about_the_same_pixels(client):
    answer = client.segment(half_red(128, 128), model="red", overlay=True, polygons=True)

    overlay = np.asarray(Image.open(BytesIO(answer.overlay_png)))
    assert overlay.shape == (128, 128, 3)
    (red,) = [region for region in answer.regions if region.label == "red"]
    (corners,) = red.polygons
    np.testing.assert_allclose(corners.min(axis=0), [0, 0], atol=1)
    np.testing.assert_allclose(corners.max(axis=0), [64, 128], atol=2)


def test_a_mask_may_stay_at_the_size_of_the_network(client):
    small = client.segment(half_red(400, 400), model="red", mask_size="model")
    assert small.mask.shape == (SIDE, SIDE)


def test_boxes_are_in_pixels_of_the_image(client):
    answer = client.detect(np.full((128, 128, 3), (255, 0, 128), np.uint8), model="things")

    assert answer.labels == ("red thing", "blue thing")
    np.testing.assert_allclose(answer.boxes, 2 * BOXES, atol=0.01)
    np.testing.assert_allclose(answer.scores, [1, 128 / 255], atol=1e-3)
    assert answer.image_size == (128, 128)


def test_options_choose_among_the_boxes(client):
    photo = np.full((64, 64, 3), (255, 0, 128), np.uint8)

    assert client.detect(photo, model="things", score_threshold=0.9).labels == ("red thing",)
    assert client.detect(photo, model="things", classes=["blue thing"]).labels == ("blue thing",)
    assert client.detect(photo, model="things", max_detections=1).labels == ("red thing",)
    with pytest.raises(sightline.InvalidInput, match="green thing"):
        client.detect(photo, model="things", classes=["green thing"])


@pytest.mark.parametrize(("verb", "model"), [("segment", "red"), ("detect", "things")])
def test_images_of_many_sizes_keep_their_order_and_bad_ones_fail_alone(client, verb, model):
    sizes = [(40 + n, 90 - n) for n in range(40)]
    photos: list[Any] = [np.full((*size, 3), 255, np.uint8) for size in sizes]
    photos[7] = b"no photo"

    for outcomes in (
        getattr(client, f"{verb}_many")(photos, model=model),
        list(getattr(client, f"{verb}_stream")(photos, model=model)),
    ):
        assert [n for n, each in enumerate(outcomes) if isinstance(each, ItemFailed)] == [7]
        shapes = [
            each.mask.shape if verb == "segment" else each.image_size
            for n, each in enumerate(outcomes)
            if n != 7
        ]
        assert shapes == sizes[:7] + sizes[8:]


@pytest.mark.parametrize("verb", ["segment", "detect", "predict"])
def test_a_model_of_another_task_raises_an_error(client, verb):
    question = "text" if verb == "predict" else half_red(8, 8)
    with pytest.raises(sightline.WrongTask):
        getattr(client, verb)(question, model="things" if verb == "segment" else "red")


def test_the_command_line_draws_what_the_server_sees(run, target, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(half_red(64, 64)).save(photo)
    common = ["--target", target, "--save", tmp_path / "out", "--json"]

    segmented = run("segment", photo, "--model", "red", *common)
    detected = run("detect", photo, "--model", "things", *common)

    assert (segmented.exit_code, detected.exit_code) == (0, 0)
    shares = {r["label"]: r["share"] for r in json.loads(segmented.stdout)["regions"]}
    assert shares == {"red": pytest.approx(0.5), "other": pytest.approx(0.5)}
    (found,) = json.loads(detected.stdout)["detections"]
    assert (found["label"], found["box"]) == ("red thing", pytest.approx(BOXES[0].tolist()))
    with Image.open(tmp_path / "out" / "photo.png") as picture:
        assert min(picture.size) >= 448
