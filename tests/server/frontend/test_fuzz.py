"""Whatever arrives, a caller is answered or told of its own mistake, and the server goes on."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.v1 import classification_pb2 as pb
from sightline.v1 import detection_pb2, image_pb2, models_pb2, segmentation_pb2
from tests.support.requests import classify, detect, fails_with, segment
from tests.support.stubs import Stubs

CALLERS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}
UNARY = (
    "/sightline.v1.ClassificationService/Classify",
    "/sightline.v1.ModelService/ListModels",
    "/sightline.v1.ModelService/GetModel",
)
STREAM = "/sightline.v1.ClassificationService/ClassifyStream"

small_int = st.integers(0, 70_000) | st.integers(0, 2**32 - 1)
images = st.one_of(
    st.builds(image_pb2.Image),
    st.builds(image_pb2.Image, encoded=st.binary(max_size=200)),
    st.builds(
        image_pb2.Image,
        pixels=st.builds(
            image_pb2.Pixels,
            data=st.binary(max_size=100),
            height=small_int,
            width=small_int,
            channels=st.integers(0, 5),
        ),
    ),
)
selectors = st.builds(
    models_pb2.ModelSelector, name=st.sampled_from(["tiny", "", "nope", "x" * 1000, "ä"])
)
requests = st.builds(
    pb.ClassifyRequest,
    model=selectors,
    images=st.lists(images, max_size=4),
    top_k=small_int,
    score_threshold=st.floats(width=32),
)
enums = st.integers(-1, 5)
names = st.lists(st.sampled_from(["dark", "thing", "room", "", "ä", "x" * 1000]), max_size=4)
vision_selectors = st.builds(
    models_pb2.ModelSelector,
    name=st.sampled_from(["levels", "stretched", "bright", "middle", "regions", "nope"]),
)
shares = st.none() | st.floats(width=32)
numbers = st.floats(width=32) | st.floats(0, 9, width=32)
boxes = st.builds(detection_pb2.Box, x1=numbers, y1=numbers, x2=numbers, y2=numbers)
tiny_photos = st.builds(
    lambda height, width: image_pb2.Image(
        pixels=image_pb2.Pixels(
            data=bytes(range(256))[: height * width] * 3, height=height, width=width, channels=3
        )
    ),
    st.integers(1, 16),
    st.integers(1, 16),
)
segment_requests = st.builds(
    segmentation_pb2.SegmentRequest,
    model=vision_selectors,
    images=st.lists(images | tiny_photos, max_size=4),
    mask_encoding=enums,
    mask_size=enums,
    score_map_labels=st.just([]) | names,
    include_overlay=st.booleans(),
    include_polygons=st.booleans(),
)
detect_requests = st.builds(
    detection_pb2.DetectRequest,
    model=vision_selectors,
    images=st.lists(images | tiny_photos, max_size=4),
    score_threshold=shares,
    iou_threshold=shares,
    max_detections=st.none() | small_int,
    labels=st.just([]) | names,
    suppression=enums,
    proposals=st.lists(
        st.builds(detection_pb2.Proposals, boxes=st.lists(boxes, max_size=3)), max_size=3
    ),
)
unhurried = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_answered_or_refused(call: Callable[..., Any], request: Any) -> None:
    """Each of its images has a result, or the caller is told of its own mistake."""
    try:
        response = call(request, timeout=30)
    except grpc.RpcError as err:
        assert err.code() in CALLERS_FAULT, err
        assert err.details()
    else:
        assert len(response.results) == len(request.images)


@pytest.mark.parametrize("method", UNARY)
def test_arbitrary_bytes_never_break_a_unary_call(stubs: Stubs, method: str) -> None:
    call = stubs.channel.unary_unary(method)

    @unhurried
    @given(st.binary(max_size=300))
    def throw(data: bytes) -> None:
        try:
            call(data, timeout=30)
        except grpc.RpcError as err:
            assert err.code() in CALLERS_FAULT, err
            assert err.details()

    throw()
    assert stubs.classification.Classify(classify()).results


def test_arbitrary_bytes_never_break_a_stream(stubs: Stubs) -> None:
    call = stubs.channel.stream_stream(STREAM)

    @unhurried
    @given(st.lists(st.binary(max_size=100), max_size=5))
    def throw(messages: list[bytes]) -> None:
        try:
            list(call(iter(messages), timeout=30))
        except grpc.RpcError as err:
            assert err.code() in CALLERS_FAULT, err

    throw()
    assert stubs.classification.Classify(classify()).results


def test_garbage_is_refused_with_a_reference_to_the_protos(stubs: Stubs) -> None:
    with fails_with(grpc.StatusCode.INVALID_ARGUMENT, "protos/sightline/v1"):
        stubs.channel.unary_unary(UNARY[0])(b"\xff\xff\xff")


def test_arbitrary_fields_are_answered_or_refused(stubs: Stubs) -> None:
    @unhurried
    @given(requests)
    def throw(request: pb.ClassifyRequest) -> None:
        assert_answered_or_refused(stubs.classification.Classify, request)

    throw()
    assert stubs.classification.Classify(classify()).results


@pytest.mark.parametrize(
    "method",
    [
        "/sightline.v1.SegmentationService/Segment",
        "/sightline.v1.DetectionService/Detect",
    ],
)
def test_arbitrary_bytes_never_break_segmentation_or_detection(
    vision_stubs: Stubs, method: str
) -> None:
    unary = vision_stubs.channel.unary_unary(method)
    stream = vision_stubs.channel.stream_stream(method + "Stream")

    @unhurried
    @given(st.lists(st.binary(max_size=100), min_size=1, max_size=3))
    def throw(messages: list[bytes]) -> None:
        for call in (
            lambda: unary(messages[0], timeout=30),
            lambda: list(stream(iter(messages), timeout=30)),
        ):
            try:
                call()
            except grpc.RpcError as err:
                assert err.code() in CALLERS_FAULT, err

    throw()
    still_answers(vision_stubs)


def test_arbitrary_fields_of_segmentation_are_answered_or_refused(vision_stubs: Stubs) -> None:
    @unhurried
    @given(segment_requests)
    def throw(request: segmentation_pb2.SegmentRequest) -> None:
        assert_answered_or_refused(vision_stubs.segmentation.Segment, request)

    throw()
    still_answers(vision_stubs)


def test_arbitrary_fields_of_detection_are_answered_or_refused(vision_stubs: Stubs) -> None:
    @unhurried
    @given(detect_requests)
    def throw(request: detection_pb2.DetectRequest) -> None:
        assert_answered_or_refused(vision_stubs.detection.Detect, request)

    throw()
    still_answers(vision_stubs)


def still_answers(stubs: Stubs) -> None:
    assert stubs.segmentation.Segment(segment()).results
    assert stubs.detection.Detect(detect()).results
