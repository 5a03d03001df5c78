"""Masks: at whose size, in which encoding, and what is said of them; asked of a real server."""

import io
from typing import Any

import grpc
import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.artifact.manifest import ImagePreprocessing
from service.frontend.endpoints.segmentation import SizeCheck
from service.frontend.endpoints.segmentation_response import MaskOptions
from service.frontend.errors import InvalidInput
from service.frontend.images.decode import ImageLimits
from service.processing.placement import place
from sightline.v1 import image_pb2
from sightline.v1 import segmentation_pb2 as pb
from tests.support.requests import fails_with, photo_file, picture, pixels, segment
from tests.support.stubs import Stubs
from tests.support.vision_artifacts import COLOURS, REGIONS, class_of, score_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blocks(height: int, width: int, size: int = 8) -> NDArray[np.uint8]:
    """Squares of a few colours."""
    small = noise(-(-height // size), -(-width // size))
    return small.repeat(size, 0).repeat(size, 1)[:height, :width]


def only(response: pb.SegmentResponse) -> pb.Segmentation:
    (result,) = response.results
    assert result.WhichOneof("outcome") == "segmentation", result.error
    return result.segmentation


def opened(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def mask_of(answer: pb.Segmentation) -> NDArray[np.uint8]:
    """The mask, whatever its encoding."""
    match answer.mask_encoding:
        case pb.MASK_ENCODING_RAW:
            return np.frombuffer(answer.mask, np.uint8).reshape(answer.height, answer.width)
        case pb.MASK_ENCODING_PNG:
            return opened(answer.mask)
    mask = np.full((answer.height, answer.width), 255, np.uint8)
    for region in answer.regions:
        inside = coco.decode({"size": list(mask.shape), "counts": region.coco_rle}) > 0
        assert (mask[inside] == 255).all()  # no pixel belongs to two classes
        mask[inside] = region.index
    return mask


@pytest.mark.parametrize("encoding", pb.MaskEncoding.values())
@pytest.mark.parametrize(
    "size", [(48, 64), (64, 48), (24, 32), (30, 20), (1, 1), (1, 64), (48, 1), (47, 63)], ids=str
)
def test_an_image_that_fits_gets_the_class_of_each_of_its_pixels(
    vision_stubs: Stubs, size: tuple[int, int], encoding: pb.MaskEncoding
) -> None:
    array = noise(*size)
    request = segment(picture(array), mask_encoding=encoding)
    answer = only(vision_stubs.segmentation.Segment(request))
    assert (answer.height, answer.width) == size
    np.testing.assert_array_equal(mask_of(answer), class_of(array[:, :, 0]))


def test_png_is_the_default_and_has_the_colours_of_the_model(vision_stubs: Stubs) -> None:
    answer = only(vision_stubs.segmentation.Segment(segment(picture(noise(20, 30)))))
    assert answer.mask_encoding == pb.MASK_ENCODING_PNG
    image = Image.open(io.BytesIO(answer.mask))
    assert image.mode == "P"
    assert tuple((image.getpalette() or [])[:12]) == sum(COLOURS, ())


def test_the_pixels_of_all_regions_add_up_to_the_image(vision_stubs: Stubs) -> None:
    array = noise(40, 60)
    classes = class_of(array[:, :, 0])
    regions = only(vision_stubs.segmentation.Segment(segment(picture(array)))).regions
    assert sum(region.pixel_count for region in regions) == classes.size
    assert sum(region.share for region in regions) == pytest.approx(1)
    counts = [region.pixel_count for region in regions]
    assert counts == sorted(counts, reverse=True)
    for region in regions:
        inside = classes == region.index
        assert region.label == REGIONS[region.index]
        assert region.pixel_count == inside.sum()
        assert region.share == pytest.approx(inside.mean())
        assert region.mean_score == pytest.approx(array[:, :, 1][inside].mean() / 255, abs=1e-4)


@pytest.mark.parametrize("size", [(480, 640), (333, 500), (97, 501), (700, 90)], ids=str)
def test_pixel_counts_are_those_of_the_sent_mask_even_when_it_is_enlarged(
    vision_stubs: Stubs, size: tuple[int, int]
) -> None:
    request = segment(picture(blocks(*size, size=40)), mask_encoding=pb.MASK_ENCODING_RAW)
    answer = only(vision_stubs.segmentation.Segment(request))
    assert (answer.height, answer.width) == size
    counts = np.bincount(mask_of(answer).ravel(), minlength=4)
    assert {region.index: region.pixel_count for region in answer.regions} == {
        index: count for index, count in enumerate(counts) if count
    }


def test_a_large_image_gets_its_classes_at_its_own_size(vision_stubs: Stubs) -> None:
    array = blocks(480, 640, size=80)
    request = segment(picture(array), mask_encoding=pb.MASK_ENCODING_RAW)
    mask = mask_of(only(vision_stubs.segmentation.Segment(request)))
    agreement = (mask == class_of(array[:, :, 0])).mean()
    assert agreement > 0.85  # all but the borders of the squares, which a tenth of them blurs
    middles = (slice(40, None, 80), slice(40, None, 80))
    np.testing.assert_array_equal(mask[middles], class_of(array[:, :, 0])[middles])


@pytest.mark.parametrize(
    ("size", "of_the_model"),
    [
        ((48, 64), (48, 64)),
        ((20, 30), (20, 30)),  # padded, and the padding is no part of the mask
        ((96, 128), (48, 64)),
        ((128, 96), (64, 48)),
        ((96, 96), (48, 48)),
        ((1, 1), (1, 1)),
        ((1000, 1), (64, 1)),
    ],
)
def test_a_mask_of_the_size_of_the_model_shows_the_image_without_padding(
    vision_stubs: Stubs, size: tuple[int, int], of_the_model: tuple[int, int]
) -> None:
    request = segment(picture(noise(*size)), mask_size=pb.MASK_SIZE_MODEL)
    answer = only(vision_stubs.segmentation.Segment(request))
    assert (answer.height, answer.width) == of_the_model == mask_of(answer).shape
    assert sum(region.pixel_count for region in answer.regions) == np.prod(of_the_model)


def test_a_stretching_model_sees_the_whole_image_squashed(vision_stubs: Stubs) -> None:
    array = np.zeros((64, 200, 3), np.uint8)
    array[:, 100:, 0] = 255
    request = segment(picture(array), model="stretched", mask_encoding=pb.MASK_ENCODING_RAW)
    mask = mask_of(only(vision_stubs.segmentation.Segment(request)))
    assert mask.shape == (64, 200)
    assert (mask[:, :90] == 0).all()
    assert (mask[:, 110:] == 3).all()
    request.mask_size = pb.MASK_SIZE_MODEL
    small = only(vision_stubs.segmentation.Segment(request))
    assert (small.height, small.width) == (16, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(20, 31), (40, 60)], ids=str)
def test_the_mask_is_that_of_the_upright_image(
    vision_stubs: Stubs, orientation: int, size: tuple[int, int]
) -> None:
    file = photo_file(noise(*size), orientation)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file.encoded))))
    answer = only(vision_stubs.segmentation.Segment(segment(file, include_overlay=True)))
    np.testing.assert_array_equal(mask_of(answer), class_of(upright[:, :, 0]))
    assert opened(answer.overlay_png).shape == upright.shape


def test_score_maps_come_in_the_requested_order_at_the_size_of_the_mask(
    vision_stubs: Stubs,
) -> None:
    array = noise(33, 47)
    labels = ["glaring", "dark", "glaring"]
    answer = only(
        vision_stubs.segmentation.Segment(segment(picture(array), score_map_labels=labels))
    )
    assert [each.label for each in answer.score_maps] == labels
    for each in answer.score_maps:
        shown = opened(each.png)
        expected = score_of(array[:, :, 0], REGIONS.index(each.label))
        np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("mask_size", [pb.MASK_SIZE_MODEL, pb.MASK_SIZE_ORIGINAL])
def test_score_maps_of_a_large_image_are_smooth_and_as_large_as_the_mask(
    vision_stubs: Stubs, mask_size: pb.MaskSize
) -> None:
    ramp = np.linspace(0, 255, 640).astype(np.uint8)[None, :, None].repeat(480, 0).repeat(3, 2)
    request = segment(picture(ramp), score_map_labels=["dark"], mask_size=mask_size)
    answer = only(vision_stubs.segmentation.Segment(request))
    shown = opened(answer.score_maps[0].png).astype(int)
    assert shown.shape == (answer.height, answer.width)
    expected = score_of(np.linspace(0, 255, answer.width).round(), REGIONS.index("dark"))
    assert np.abs(shown - expected).max() <= 4


def test_score_maps_are_not_mixed_with_the_padding(vision_stubs: Stubs) -> None:
    bright = np.full((100, 640, 3), 250, np.uint8)
    request = segment(picture(bright), score_map_labels=["glaring"])
    answer = only(vision_stubs.segmentation.Segment(request))
    expected = score_of(np.array(250), REGIONS.index("glaring"))
    np.testing.assert_array_equal(opened(answer.score_maps[0].png), np.full((100, 640), expected))


def test_raw_masks_of_the_size_of_the_model_are_limited_too() -> None:
    limits = ImageLimits(1 << 20, 1 << 20, 1 << 10, max_raw_mask_bytes=5000)
    wanted = MaskOptions(pb.MASK_ENCODING_RAW, False, (), with_polygons=False)
    check = SizeCheck(limits, wanted)
    letterboxed = place(6400, 4800, ImagePreprocessing(height=48, width=64, fit="pad"))
    check(0, (), letterboxed)
    with pytest.raises(InvalidInput, match="ask for"):
        check(1, (), letterboxed)


def test_an_overlay_mixes_the_image_with_the_colours_of_its_classes(vision_stubs: Stubs) -> None:
    array = noise(30, 40)
    answer = only(vision_stubs.segmentation.Segment(segment(picture(array), include_overlay=True)))
    colours = np.array(COLOURS)[class_of(array[:, :, 0])]
    difference = opened(answer.overlay_png) - (array.astype(int) + colours) / 2
    assert np.abs(difference).max() <= 1


def test_the_overlay_of_a_huge_image_is_scaled_down(vision_stubs: Stubs) -> None:
    file = photo_file(blocks(300, 6000, size=100))
    answer = only(vision_stubs.segmentation.Segment(segment(file, include_overlay=True)))
    assert (answer.height, answer.width) == (300, 6000)
    assert opened(answer.overlay_png).shape == (102, 2048, 3)


def test_polygons_follow_the_border_of_their_region(vision_stubs: Stubs) -> None:
    array = np.zeros((48, 64, 3), np.uint8)
    array[10:30, 20:50, 0] = 255  # one glaring rectangle, with a dim hole
    array[15:20, 25:35, 0] = 100
    answer = only(vision_stubs.segmentation.Segment(segment(picture(array), include_polygons=True)))
    outlines = {
        region.label: [np.array(each.points).reshape(-1, 2) for each in region.polygons]
        for region in answer.regions
    }
    outer, hole = outlines["glaring"]
    assert (outer.min(axis=0).tolist(), outer.max(axis=0).tolist()) == ([20.5, 10.5], [49.5, 29.5])
    assert (hole.min(axis=0).tolist(), hole.max(axis=0).tolist()) == ([24.5, 14.5], [35.5, 20.5])
    assert len(outlines["dim"]) == 1


def test_there_are_no_extras_unless_asked_for(vision_stubs: Stubs) -> None:
    answer = only(vision_stubs.segmentation.Segment(segment(picture(noise(9, 9)))))
    assert not answer.overlay_png
    assert not answer.score_maps
    assert not any(region.polygons or region.coco_rle for region in answer.regions)


SIZES = [(48, 64), (64, 48), (1, 1), (200, 100), (24, 32), (20, 20), (100, 200)]


def test_images_of_many_sizes_are_answered_in_order_and_bad_ones_fail_alone(
    vision_stubs: Stubs,
) -> None:
    arrays = [noise(*size, seed=number) for number, size in enumerate(SIZES)]
    images = [picture(array) for array in arrays]
    images.insert(2, image_pb2.Image(encoded=b"junk"))
    images.insert(5, image_pb2.Image())
    answer = vision_stubs.segmentation.Segment(segment(*images))
    outcomes = [each.WhichOneof("outcome") for each in answer.results]
    assert [n for n, each in enumerate(outcomes) if each == "error"] == [2, 5]
    assert {answer.results[n].error.code for n in (2, 5)} == {INVALID.value[0]}
    assert "JPEG" in answer.results[2].error.message
    good = [each.segmentation for each in answer.results if each.HasField("segmentation")]
    for array, image, mine in zip(arrays, SIZES, good, strict=True):
        alone = only(vision_stubs.segmentation.Segment(segment(picture(array))))
        assert (mine.height, mine.width) == image
        assert mine == alone


def test_a_stream_answers_in_order_and_survives_a_bad_request(vision_stubs: Stubs) -> None:
    def requests():
        for number in range(30):
            labels = ["nothing"] if number % 10 == 3 else []
            request = segment(picture(noise(*SIZES[number % 7])), score_map_labels=labels)
            yield pb.SegmentStreamRequest(id=number + 5, request=request)

    answers = list(vision_stubs.segmentation.SegmentStream(requests()))
    assert [answer.id for answer in answers] == list(range(5, 35))
    for number, answer in enumerate(answers):
        if number % 10 == 3:
            assert answer.error.code == INVALID.value[0]
        else:
            found = only(answer.response)
            assert (found.height, found.width) == SIZES[number % 7]


BIG = photo_file(np.zeros((1500, 1900, 3), np.uint8))  # 2.85 Mpx of the 3 that are allowed


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        (segment(model="nope"), grpc.StatusCode.NOT_FOUND, "there is no model 'nope'"),
        (segment(model="bright"), grpc.StatusCode.FAILED_PRECONDITION, "DetectionService"),
        (segment(mask_encoding=9), INVALID, "mask_encoding 9 is unknown; use one of"),
        (segment(mask_size=-1), INVALID, "mask_size -1 is unknown; use one of"),
        (segment(score_map_labels=["sky"]), INVALID, "no class 'sky'; it has dark, dim"),
        (segment(score_map_labels=["dark"] * 17), INVALID, "the limit is 16"),
        (segment(model="stretched", score_map_labels=["dark"]), INVALID, "masks only"),
        (segment(*[pixels(channels=3)] * 65), INVALID, "split it"),
        (segment(image_pb2.Image()), INVALID, "set either"),
        (segment(image_pb2.Image(encoded=b"\0" * 99)), INVALID, "send a JPEG"),
        (segment(image_pb2.Image(encoded=BIG.encoded[:999])), INVALID, "cut off"),
        (segment(picture(np.zeros((2000, 2000, 1), np.uint8))), INVALID, "scaled down"),
        (segment(BIG, score_map_labels=["dark"]), INVALID, "ask for MASK_SIZE_MODEL"),
        (
            segment(BIG, mask_encoding=pb.MASK_ENCODING_RAW),
            INVALID,
            "raw masks of this request are over the 2,097,152 bytes",
        ),
    ],
)
def test_bad_requests_get_their_status_and_a_sentence(
    vision_stubs: Stubs, request_: pb.SegmentRequest, code: grpc.StatusCode, says: str
) -> None:
    with fails_with(code, says):
        vision_stubs.segmentation.Segment(request_)


def test_a_request_without_images_is_refused(vision_stubs: Stubs) -> None:
    request = segment()
    del request.images[:]
    with fails_with(INVALID):
        vision_stubs.segmentation.Segment(request)


def test_raw_masks_that_fit_the_message_are_sent_and_the_others_refused_alone(
    vision_stubs: Stubs,
) -> None:
    image = photo_file(np.zeros((700, 1000, 3), np.uint8))
    request = segment(*[image] * 4, mask_encoding=pb.MASK_ENCODING_RAW)
    answer = vision_stubs.segmentation.Segment(request)
    outcomes = [each.WhichOneof("outcome") for each in answer.results]
    assert outcomes == ["segmentation"] * 2 + ["error"] * 2
    assert "PNG" in answer.results[2].error.message


@pytest.mark.parametrize(
    "fields",
    [
        {"mask_size": pb.MASK_SIZE_MODEL, "mask_encoding": pb.MASK_ENCODING_RAW},
        {"mask_encoding": pb.MASK_ENCODING_PNG},
        {"mask_encoding": pb.MASK_ENCODING_COCO_RLE},
    ],
)
def test_a_refused_request_is_answered_when_changed_as_its_message_says(
    vision_stubs: Stubs, fields: dict[str, Any]
) -> None:
    answer = only(vision_stubs.segmentation.Segment(segment(BIG, **fields)))
    assert (mask_of(answer) == 0).all()


def test_requests_with_and_without_score_maps_stand_side_by_side(vision_stubs: Stubs) -> None:
    with_maps = segment(picture(noise(48, 64)), score_map_labels=["dark"])
    without = segment(picture(noise(48, 64)))
    calls = [
        (request, vision_stubs.segmentation.Segment.future(request))
        for request in [with_maps, without] * 8
    ]
    for request, call in calls:
        assert len(only(call.result()).score_maps) == len(request.score_map_labels)


def test_an_answer_names_its_model_and_its_timing(vision_stubs: Stubs) -> None:
    answer = vision_stubs.segmentation.Segment(segment(*[picture(noise(*size)) for size in SIZES]))
    assert (answer.model.name, answer.model.version) == ("levels", 1)
    assert 0 < answer.timing.run_seconds <= answer.timing.total_seconds
    assert answer.timing.device == "cpu"
