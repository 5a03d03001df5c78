"""Masks and boxes through both clients."""

import json

import numpy as np
import pytest
from faster_coco_eval import COCO
from faster_coco_eval.core import mask as coco

import sightline
from sightline import Detections, ItemFailed, Segmentation
from sightline.v1 import detection_pb2, segmentation_pb2
from tests.support.pictures import MASK, THING, png


def test_a_mask_comes_as_an_array_with_its_regions_and_colours(client):
    answer = client.segment(b"street", model="streets")

    np.testing.assert_array_equal(answer.mask, MASK)
    assert answer.mask.dtype == np.uint8
    assert [(r.label, r.index, r.pixel_count, r.share, r.mean_score) for r in answer.regions] == [
        ("sky", 0, 3, 0.5, 0.75),
        ("car", 7, 3, 0.5, 0.5),
    ]
    assert answer.palette[7].tolist() == [1, 2, 3]
    assert answer.model == sightline.ModelIdentity("streets", 2, "cd" * 32)
    assert answer.timing.batch_size == 2
    assert (answer.score_maps, answer.overlay_png) == ({}, b"")


def test_the_pixels_of_a_class_are_found_by_its_label(client):
    answer = client.segment(b"street", model="streets")

    np.testing.assert_array_equal(answer.where("car"), MASK == 7)
    assert not answer.where("bicycle").any()


def test_score_maps_overlay_and_polygons_come_on_request(client, pictures):
    scores = np.array([[0, 128, 255], [1, 2, 3]], np.uint8)
    pictures.segmentation.score_maps.add(label="car", png=png(scores))
    pictures.segmentation.overlay_png = b"a picture"
    pictures.segmentation.regions[1].polygons.add(points=[1, 2, 3, 4, 5, 6])

    answer = client.segment(
        b"street", model="streets", score_maps=["car"], overlay=True, polygons=True
    )

    np.testing.assert_array_equal(answer.score_maps["car"], scores)
    assert answer.overlay_png == b"a picture"
    assert answer.regions[1].polygons[0].tolist() == [[1, 2], [3, 4], [5, 6]]
    (request,) = pictures.requests
    assert list(request.score_map_labels) == ["car"]
    assert (request.include_overlay, request.include_polygons) == (True, True)


def test_masks_are_sent_as_png_at_the_requested_size(client, pictures):
    client.segment(b"street", model="streets", label="canary", mask_size="model")
    client.segment(b"street", model="streets")

    small, original = pictures.requests
    assert {r.mask_encoding for r in pictures.requests} == {segmentation_pb2.MASK_ENCODING_PNG}
    assert small.mask_size == segmentation_pb2.MASK_SIZE_MODEL
    assert small.model.label == "canary"
    assert original.mask_size == segmentation_pb2.MASK_SIZE_ORIGINAL


def test_boxes_come_as_an_array_and_one_by_one(client):
    answer = client.detect(b"street", model="streets")

    assert answer.boxes.tolist() == [[1, 0, 3, 2], [0.5, 1, 4, 3]]
    assert answer.scores.tolist() == [0.75, 0.25]
    assert answer.labels == ("car", "cup")
    assert answer.image_size == (3, 4)
    first = answer.detections[0]
    assert (first.box, first.label, first.index, first.score) == ((1, 0, 3, 2), "car", 7, 0.75)
    assert (first.mask, first.keypoints) == (None, ())


def test_an_empty_detection_is_an_answer(client, pictures):
    del pictures.detections.detections[:]
    answer = client.detect(b"street", model="streets")

    assert answer.boxes.shape == (0, 4)
    assert (answer.scores.shape, answer.labels, answer.to_coco(1)) == ((0,), (), [])


def test_detections_have_their_masks_and_keypoints(client, pictures):
    found = pictures.detections.detections[0]
    found.mask_coco_rle = coco.encode(np.asfortranarray(THING))["counts"]
    found.keypoints.add(name="wrist", x=1.5, y=2, score=0.5)

    first = client.detect(b"street", model="streets").detections[0]

    np.testing.assert_array_equal(first.mask, THING == 1)
    assert first.keypoints == (sightline.Keypoint("wrist", 1.5, 2, 0.5),)


def test_detection_options_reach_the_server_and_unset_ones_are_left_to_it(client, pictures):
    client.detect(
        b"street",
        model="streets",
        version=2,
        score_threshold=0.25,
        iou_threshold=0.5,
        max_detections=7,
        classes=["car", "cup"],
        suppression="soft",
        proposals=np.array([[0, 1, 2, 3], [1, 1, 2, 2]]),
    )
    client.detect(b"street", model="streets")

    given, unset = pictures.requests
    assert (given.score_threshold, given.iou_threshold, given.max_detections) == (0.25, 0.5, 7)
    assert list(given.labels) == ["car", "cup"]
    assert given.suppression == detection_pb2.SUPPRESSION_SOFT
    assert [box.y2 for box in given.proposals[0].boxes] == [3, 2]
    assert unset == detection_pb2.DetectRequest(
        model={"name": "streets"},
        images=[{"encoded": b"street"}],
        suppression=detection_pb2.SUPPRESSION_PER_CLASS,
    )


@pytest.mark.parametrize(
    ("verb", "options", "error", "advice"),
    [
        ("segment", {"mask_size": "huge"}, ValueError, "one of original, model"),
        ("segment", {"score_maps": "car"}, TypeError, r"\['car'\]"),
        ("segment", {"masks": True}, TypeError, "masks"),
        ("detect", {"score_threshold": float("nan")}, ValueError, r"0\.0 to 1\.0"),
        ("detect", {"iou_threshold": -0.1}, ValueError, r"0\.0 to 1\.0"),
        ("detect", {"max_detections": 1001}, ValueError, "1 to 1000"),
        ("detect", {"suppression": "none"}, ValueError, "one of per_class"),
        ("detect", {"classes": "car"}, TypeError, r"\['car'\]"),
        ("detect", {"proposals": [1, 2, 3, 4]}, ValueError, r"\[P, 4\]"),
        ("detect", {"proposals": np.zeros((0, 4))}, ValueError, r"\[P, 4\]"),
    ],
)
def test_an_impossible_option_is_refused_before_anything_is_sent(
    client, pictures, verb, options, error, advice
):
    with pytest.raises(error, match=advice):
        getattr(client, verb)(b"street", model="streets", **options)
    assert not pictures.requests


@pytest.mark.parametrize("verb", ["segment_many", "segment_stream", "detect_many", "detect_stream"])
def test_bad_images_fail_alone_and_keep_their_place(client, pictures, verb):
    answered = Segmentation if verb.startswith("segment") else Detections
    photos = [b"one", b"bad", b"two", b"", *[b"more"] * 40]

    outcomes = list(getattr(client, verb)(photos, model="streets"))

    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [answered, ItemFailed, answered, ItemFailed, *[answered] * 40]
    assert outcomes[1].message == "no image"
    sizes = [len(request.images) for request in pictures.requests]
    assert sizes == ([43] if verb.endswith("many") else [15, 16, 12])


@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_an_image_that_the_server_cannot_read_raises(client, verb):
    with pytest.raises(sightline.InvalidInput, match="no image"):
        getattr(client, verb)(b"bad", model="streets")


def test_an_unreadable_mask_is_a_server_error(client, pictures):
    pictures.segmentation.width = 4

    with pytest.raises(sightline.ServerError, match="cannot be read: a PNG file of 2 x 3"):
        client.segment(b"street", model="streets")


def test_coco_results_are_read_by_the_coco_tools(client, pictures, tmp_path):
    pictures.detections.detections[0].mask_coco_rle = coco.encode(np.asfortranarray(THING))[
        "counts"
    ]
    pictures.detections.detections[1].mask_coco_rle = coco.encode(np.asfortranarray(1 - THING))[
        "counts"
    ]
    masks = client.segment(b"street", model="streets").to_coco(image_id=5)
    things = client.detect(b"street", model="streets").to_coco(image_id=5)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 5, "height": 3, "width": 4}],
        "categories": [{"id": 0}, {"id": 1}, {"id": 7}],
        "annotations": [],
    }
    truth.createIndex()

    loaded = {}
    for name, results in (("masks", masks), ("things", things)):
        (tmp_path / name).write_text(json.dumps(results))
        loaded[name] = truth.loadRes(str(tmp_path / name)).dataset["annotations"]

    assert [each["category_id"] for each in loaded["masks"]] == [0, 7]
    np.testing.assert_array_equal(coco.decode(loaded["masks"][1]["segmentation"]), MASK == 7)
    assert [each["bbox"] for each in loaded["things"]] == [[1, 0, 2, 2], [0.5, 1, 3.5, 2]]
    np.testing.assert_array_equal(coco.decode(loaded["things"][0]["segmentation"]), THING)
    assert things[0]["score"] == 0.75


def test_keypoints_are_in_coco_results(client, pictures):
    pictures.detections.detections[0].keypoints.add(name="wrist", x=1.5, y=2, score=0.5)

    (first, second) = client.detect(b"street", model="streets").to_coco(1)

    assert first["keypoints"] == [1.5, 2, 2]
    assert "keypoints" not in second
