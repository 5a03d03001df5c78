"""Boxes: where they are, which of them a request gets, and what it may ask; of a real server."""

import io
import math
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sightline.v1 import detection_pb2 as pb
from sightline.v1 import image_pb2
from tests.support.requests import detect, fails_with, photo_file, picture, pixels
from tests.support.stubs import Stubs
from tests.support.vision_artifacts import MAX_PROPOSALS

INVALID = grpc.StatusCode.INVALID_ARGUMENT
Corners = tuple[float, float, float, float]


def scene(height: int = 48, width: int = 64, thing: Corners = (10, 8, 30, 28)) -> NDArray[np.uint8]:
    """A dark room with one bright thing."""
    array = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = map(int, thing)
    array[y1:y2, x1:x2] = 255
    return array


def only(response: pb.DetectResponse) -> pb.Detections:
    (result,) = response.results
    assert result.WhichOneof("outcome") == "detections", result.error
    return result.detections


def corners(detection: pb.Detection) -> list[float]:
    box = detection.box
    return [box.x1, box.y1, box.x2, box.y2]


def found(stubs: Stubs, request: pb.DetectRequest) -> list[tuple[str, float]]:
    """Label and score of all that an image holds."""
    detections = only(stubs.detection.Detect(request)).detections
    return [(each.label, round(each.score, 3)) for each in detections]


def test_an_answer_has_boxes_labels_and_scores_and_names_its_model(vision_stubs: Stubs) -> None:
    response = vision_stubs.detection.Detect(detect(picture(scene()), score_threshold=0.55))
    answer = only(response)
    assert (answer.image_height, answer.image_width) == (48, 64)
    thing, room = answer.detections
    assert (thing.label, thing.index, corners(thing)) == ("thing", 0, [10, 8, 30, 28])
    assert (room.label, room.index, corners(room)) == ("room", 1, [0, 0, 64, 48])
    assert (thing.score, room.score) == (pytest.approx(0.9), pytest.approx(0.6))
    assert not thing.mask_coco_rle
    assert not thing.keypoints
    assert (response.model.name, response.timing.device) == ("bright", "cpu")


@pytest.mark.parametrize(
    ("size", "thing"),
    [
        ((480, 640), (100, 80, 300, 280)),
        ((96, 64), (8, 20, 40, 60)),  # letterboxed at the sides
        ((50, 640), (100, 10, 300, 40)),  # above and below
        ((24, 32), (5, 4, 15, 14)),  # enlarged
        ((481, 633), (0, 0, 200, 481)),
        ((1000, 30), (0, 100, 30, 400)),
    ],
    ids=str,
)
def test_boxes_are_in_pixels_of_the_image(
    vision_stubs: Stubs, size: tuple[int, int], thing: Corners
) -> None:
    array = scene(*size, thing)
    answer = only(vision_stubs.detection.Detect(detect(picture(array), labels=["thing"])))
    one_px_of_the_row = max(1, size[0] / 48, size[1] / 64)
    assert corners(answer.detections[0]) == pytest.approx(list(thing), abs=one_px_of_the_row)
    room = only(vision_stubs.detection.Detect(detect(picture(array), labels=["room"])))
    assert corners(room.detections[0]) == [0, 0, size[1], size[0]]  # none of the padding


def test_a_model_that_looks_at_the_middle_answers_in_pixels_of_the_whole_image(
    vision_stubs: Stubs,
) -> None:
    array = scene(48, 164, (60, 8, 80, 28))
    request = detect(picture(array), model="middle", score_threshold=0.55)
    thing, room = only(vision_stubs.detection.Detect(request)).detections
    assert corners(thing) == pytest.approx([60, 8, 80, 28])
    assert corners(room) == pytest.approx([50, 0, 114, 48])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_those_of_the_upright_image(vision_stubs: Stubs, orientation: int) -> None:
    file = photo_file(scene(), orientation)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file.encoded))))
    answer = only(vision_stubs.detection.Detect(detect(file, labels=["thing"])))
    rows, columns = np.nonzero(upright[:, :, 0])
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert (answer.image_height, answer.image_width) == upright.shape[:2]
    assert corners(answer.detections[0]) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)], ids=str)
def test_the_tiniest_images_have_answers_within_them(
    vision_stubs: Stubs, size: tuple[int, int]
) -> None:
    array = np.full((*size, 3), 255, np.uint8)
    answer = only(vision_stubs.detection.Detect(detect(picture(array), score_threshold=0)))
    assert answer.detections
    for each in answer.detections:
        assert 0 <= each.box.x1 < each.box.x2 <= size[1]
        assert 0 <= each.box.y1 < each.box.y2 <= size[0]


def test_an_image_without_objects_has_an_empty_answer(vision_stubs: Stubs) -> None:
    dark = picture(scene(thing=(0, 0, 0, 0)))
    answer = only(vision_stubs.detection.Detect(detect(dark, labels=["thing"])))
    assert not answer.detections
    assert (answer.image_height, answer.image_width) == (48, 64)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("thing", 0.9), ("room", 0.6), ("room", 0.5)]),
        ({"score_threshold": 0.7}, [("thing", 0.9)]),
        ({"score_threshold": 0.9}, [("thing", 0.9)]),  # at the threshold counts
        ({"score_threshold": 1.0}, []),
        ({"iou_threshold": 1.0}, [("thing", 0.9), ("thing", 0.8), ("room", 0.6), ("room", 0.5)]),
        ({"max_detections": 1}, [("thing", 0.9)]),
        ({"labels": ["room"]}, [("room", 0.6), ("room", 0.5)]),
        ({"labels": ["room", "thing", "room"]}, [("thing", 0.9), ("room", 0.6), ("room", 0.5)]),
        # The thing taken for a room goes; the room, which is much larger, stays.
        ({"suppression": pb.SUPPRESSION_CLASS_AGNOSTIC}, [("thing", 0.9), ("room", 0.6)]),
    ],
    ids=str,
)
def test_options_choose_among_the_candidates(
    vision_stubs: Stubs, options: dict[str, Any], expected: list[tuple[str, float]]
) -> None:
    assert found(vision_stubs, detect(picture(scene()), **options)) == expected


def test_soft_suppression_lowers_the_near_duplicate(vision_stubs: Stubs) -> None:
    request = detect(
        picture(scene()), labels=["thing"], suppression=pb.SUPPRESSION_SOFT, score_threshold=0.05
    )
    first, second, third = found(vision_stubs, request)
    assert first == ("thing", 0.9)
    iou = 19 / 21  # shifted by 1 px of 20
    duplicate, whole = sorted((second, third), key=lambda each: -each[1])
    shares = (20 * 20 / (48 * 64), 20 * 20 / (48 * 64))
    lowered = 0.1 * math.prod(math.exp(-(share**2) / 0.5) for share in shares)
    assert duplicate[1] == pytest.approx(0.8 * math.exp(-(iou**2) / 0.5), abs=0.01)
    assert whole[1] == pytest.approx(lowered, abs=0.01)


def test_different_thresholds_share_a_batch(vision_stubs: Stubs) -> None:
    thresholds = [0.05, 0.2, 0.4, 0.55, 0.7, 0.85, 0.95] * 8

    def largest_batch() -> int:
        requests = [
            detect(picture(scene()), score_threshold=each, iou_threshold=1) for each in thresholds
        ]
        calls = [vision_stubs.detection.Detect.future(request) for request in requests]
        for threshold, call in zip(thresholds, calls, strict=True):
            scores = [each.score for each in only(call.result()).detections]
            expected = [score for score in (0.9, 0.8, 0.6, 0.5, 0.1) if score >= threshold]
            assert scores == pytest.approx(expected)
        return max(call.result().timing.batch_size for call in calls)

    assert max(largest_batch() for _ in range(5)) > 1


def test_images_of_many_sizes_are_answered_in_order_and_bad_ones_fail_alone(
    vision_stubs: Stubs,
) -> None:
    sizes = [(48, 64), (100, 100), (1, 1), (300, 20)]
    images = [picture(np.full((*size, 3), 255, np.uint8)) for size in sizes]
    images.insert(1, image_pb2.Image(encoded=b"junk"))
    results = vision_stubs.detection.Detect(detect(*images)).results
    assert results[1].error.code == INVALID.value[0]
    assert "JPEG" in results[1].error.message
    good = [each.detections for n, each in enumerate(results) if n != 1]
    assert [(each.image_height, each.image_width) for each in good] == sizes


def test_a_stream_answers_in_order_and_survives_a_bad_request(vision_stubs: Stubs) -> None:
    def requests():
        for number in range(30):
            threshold = math.nan if number % 10 == 3 else 0.5
            request = detect(picture(scene()), score_threshold=threshold, max_detections=1)
            yield pb.DetectStreamRequest(id=number, request=request)

    answers = list(vision_stubs.detection.DetectStream(requests()))
    assert [answer.id for answer in answers] == list(range(30))
    for number, answer in enumerate(answers):
        if number % 10 == 3:
            assert answer.error.code == INVALID.value[0]
            assert "score_threshold is nan" in answer.error.message
        else:
            assert len(only(answer.response).detections) == 1


# Proposals


def proposals(*boxes: Corners) -> pb.Proposals:
    return pb.Proposals(boxes=[pb.Box(x1=a, y1=b, x2=c, y2=d) for a, b, c, d in boxes])


def test_given_proposals_are_what_the_model_looks_at(vision_stubs: Stubs) -> None:
    boxes = [(0, 0, 320, 240), (100.5, 50.25, 180.0, 90.0), (639, 479, 640, 480)]
    request = detect(
        picture(scene(480, 640)),
        model="regions",
        proposals=[proposals(*boxes)],
        score_threshold=0,
        iou_threshold=1,
        labels=["thing"],
    )
    answer = only(vision_stubs.detection.Detect(request)).detections
    assert [corners(each) for each in answer] == [
        pytest.approx(list(box), abs=1e-2) for box in boxes
    ]
    assert [each.score for each in answer] == pytest.approx([0.5, 79.5 / 640, 1 / 640], abs=1e-5)


def test_each_image_has_its_own_proposals(vision_stubs: Stubs) -> None:
    images = [picture(scene(48, 64)), image_pb2.Image(encoded=b"junk"), picture(scene(96, 64))]
    lists = [proposals((1, 2, 30, 40)), proposals((0, 0, 1, 1)), proposals((10, 50, 60, 90))]
    request = detect(*images, model="regions", proposals=lists)
    first, bad, last = vision_stubs.detection.Detect(request).results
    assert bad.HasField("error")
    assert corners(first.detections.detections[0]) == pytest.approx([1, 2, 30, 40])
    assert corners(last.detections.detections[0]) == pytest.approx([10, 50, 60, 90], abs=1e-3)


def test_without_given_proposals_the_server_proposes(vision_stubs: Stubs) -> None:
    request = detect(picture(scene(48, 64, (10, 8, 34, 32))), model="regions")
    answer = only(vision_stubs.detection.Detect(request)).detections
    # Selective search smooths first: at this size its boxes are some px wide of the mark.
    assert any(corners(each) == pytest.approx([10, 8, 34, 32], abs=4) for each in answer)


def test_proposals_outside_of_one_image_fail_only_that_image(vision_stubs: Stubs) -> None:
    images = [picture(scene())] * 2
    request = detect(
        *images, model="regions", proposals=[proposals((0, 0, 65, 9)), proposals((0, 0, 64, 9))]
    )
    bad, good = vision_stubs.detection.Detect(request).results
    assert "0 to 64 across" in bad.error.message
    assert good.detections.detections


OUTSIDE: list[Corners] = [
    (-1, 0, 5, 5),
    (0, 0, 65, 5),
    (0, 0, 5, 49),
    (5, 0, 5, 9),
    (9, 9, 2, 2),
    (math.nan, 0, 5, 5),
    (0, 0, math.inf, 5),
    (-3e38, -3e38, 3e38, 3e38),
]


@pytest.mark.parametrize("box", OUTSIDE, ids=str)
def test_a_proposal_that_is_no_box_in_the_image_is_refused(
    vision_stubs: Stubs, box: Corners
) -> None:
    request = detect(picture(scene()), model="regions", proposals=[proposals((0, 0, 9, 9), box)])
    with fails_with(INVALID, "proposal 1 is"):
        vision_stubs.detection.Detect(request)


MANY = [(0, 0, 9, 9)] * 100_000


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        (detect(model="nope"), grpc.StatusCode.NOT_FOUND, "there is no model 'nope'"),
        (detect(model="levels"), grpc.StatusCode.FAILED_PRECONDITION, "SegmentationService"),
        (detect(score_threshold=math.nan), INVALID, "score_threshold is nan"),
        (detect(score_threshold=-0.01), INVALID, "between 0 and 1"),
        (detect(score_threshold=1.01), INVALID, "between 0 and 1"),
        (detect(iou_threshold=math.nan), INVALID, "iou_threshold is nan"),
        (detect(iou_threshold=math.inf), INVALID, "iou_threshold is inf"),
        (detect(max_detections=0), INVALID, "1 to 1000"),
        (detect(max_detections=1001), INVALID, "1 to 1000"),
        (detect(max_detections=2**32 - 1), INVALID, "1 to 1000"),
        (detect(suppression=4), INVALID, "suppression 4 is unknown; use one of"),
        (detect(labels=["thing", "cat"]), INVALID, "no class 'cat'; it has thing, room"),
        (detect(labels=[f"cat {n}" for n in range(100_000)]), INVALID, "no class 'cat"),
        (detect(proposals=[proposals((0, 0, 1, 1))]), INVALID, "leave proposals empty"),
        (detect(model="regions", proposals=[proposals()]), INVALID, "takes 1 to 8"),
        (
            detect(model="regions", proposals=[proposals(*MANY)]),
            INVALID,
            "has 100,000 proposals; 'regions' takes 1 to 8",
        ),
        (
            detect(model="regions", proposals=[proposals((0, 0, 1, 1))] * 2),
            INVALID,
            "2 lists of proposals for 1 images",
        ),
        (detect(*[pixels()] * 65), INVALID, "split it"),
        (detect(image_pb2.Image()), INVALID, "set either"),
        (detect(image_pb2.Image(encoded=b"\0" * 99)), INVALID, "send a JPEG"),
    ],
)
def test_bad_requests_get_their_status_and_a_sentence(
    vision_stubs: Stubs, request_: pb.DetectRequest, code: grpc.StatusCode, says: str
) -> None:
    with fails_with(code, says) as caught:
        vision_stubs.detection.Detect(request_)
    assert len(caught.value.details() or "") < 500


def test_as_many_proposals_as_the_model_looks_at_are_taken(vision_stubs: Stubs) -> None:
    boxes = [(n, n, n + 20, n + 20) for n in range(MAX_PROPOSALS)]
    request = detect(
        picture(scene()), model="regions", proposals=[proposals(*boxes)], iou_threshold=1
    )
    assert len(only(vision_stubs.detection.Detect(request)).detections) == MAX_PROPOSALS
