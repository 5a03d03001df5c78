"""`sightline segment` and `sightline detect`: tables, JSON, pictures."""

import json

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from PIL import Image

from sightline import Detection, Detections, ModelIdentity, Region, Segmentation, Timing
from sightline.cli.drawing import (
    OUTLINE,
    SMALLEST_SIDE_PX,
    draw_detections,
    draw_segmentation,
)
from sightline.cli.palette import color_of
from tests.support.pictures import MASK, THING

TIMING = Timing(0, 0, 0, 0, 0, "cpu")


@pytest.fixture
def photo(tmp_path):
    """Writes a grey photo of the size that the service's answers are about."""

    def write(name: str, size: tuple[int, int] = (4, 3), **options) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, (90, 90, 90)).save(path, **options)
        return str(path)

    return write


@pytest.fixture
def ask(run, target):
    return lambda verb, *arguments: run(verb, *arguments, "--model", "streets", "--target", target)


def test_segment_prints_a_table_of_regions(ask, photo):
    result = ask("segment", photo("a.png"))

    assert result.exit_code == 0
    for shown in ("a.png", "sky", "car", "50.0%", "75.0%", "streets/2", "10.0"):
        assert shown in result.stdout


def test_detect_prints_a_table_of_boxes(ask, photo, pictures):
    result = ask(
        "detect", photo("a.png"), "--class", "car", "--class", "cup", "--max-detections", 9
    )

    assert result.exit_code == 0
    for shown in ("a.png", "car", "cup", "75.0%", "x1", "streets/2"):
        assert shown in result.stdout
    (request,) = pictures.requests
    assert (list(request.labels), request.max_detections) == (["car", "cup"], 9)


def test_possible_further_boxes_are_mentioned(ask, photo, pictures):
    hint = "these are the best 2; a higher --max-detections may show more"
    assert len(pictures.detections.detections) == 2
    assert hint in ask("detect", photo("a.png"), "--max-detections", "2").stderr
    assert "best" not in ask("detect", photo("a.png"), "--max-detections", "3").stderr


def test_an_empty_detection_is_reported(ask, photo, pictures):
    del pictures.detections.detections[:]
    assert "nothing found" in ask("detect", photo("a.png")).stdout


def test_segment_prints_json_with_coco_masks(ask, photo, pictures):
    pictures.segmentation.regions[1].polygons.add(points=[1, 2, 3, 4, 5, 6])
    path = photo("a.png")
    result = ask("segment", path, "--json", "--polygons")

    answer = json.loads(result.stdout)
    assert (answer["photo"], answer["height"], answer["width"]) == (path, 2, 3)
    sky, car = answer["regions"]
    assert (sky["label"], sky["index"], sky["share"], "polygons" in sky) == ("sky", 0, 0.5, False)
    np.testing.assert_array_equal(coco.decode(car["segmentation"]), MASK == 7)
    assert car["polygons"] == [[1, 2, 3, 4, 5, 6]]
    assert answer["model"]["version"] == 2
    assert pictures.requests[0].include_polygons


def test_detect_prints_json(ask, photo, pictures):
    found = pictures.detections.detections[0]
    found.mask_coco_rle = coco.encode(np.asfortranarray(THING))["counts"]
    found.keypoints.add(name="wrist", x=1.5, y=2, score=0.5)
    result = ask("detect", photo("a.png"), "--json")

    answer = json.loads(result.stdout)
    car, cup = answer["detections"]
    assert car["box"] == [1, 0, 3, 2]
    np.testing.assert_array_equal(coco.decode(car["segmentation"]), THING)
    assert car["keypoints"] == [{"name": "wrist", "x": 1.5, "y": 2, "score": 0.5}]
    assert cup == {"box": [0.5, 1, 4, 3], "label": "cup", "index": 1, "score": 0.25}


@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_an_image_without_an_answer_is_shown_and_the_exit_status_is_1(ask, photo, verb, tmp_path):
    (tmp_path / "bad.jpg").write_text("bad")
    result = ask(
        verb, photo("a.png"), tmp_path / "bad.jpg", "absent.jpg", "--save", tmp_path / "out"
    )

    assert result.exit_code == 1
    for shown in ("a.png", "bad.jpg", "no image", "absent.jpg"):
        assert shown in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_an_image_that_cannot_be_written_is_reported(ask, photo, pictures, tmp_path):
    (tmp_path / "file").touch()
    picture = tmp_path / "file" / "answer.png"

    result = ask("segment", photo("a.png"), "--save", picture)
    assert result.exit_code == 1
    assert f"cannot write {picture.parent}" in result.stderr
    assert ask("segment", photo("a.png"), "--save", tmp_path / "answer.tga").exit_code == 2
    assert pictures.requests == []


def test_drawings_of_images_with_the_same_name_are_all_kept(ask, photo, tmp_path):
    result = ask(
        "detect", photo("a.png"), photo("other/a.png"), photo("a.jpg"), "--save", tmp_path / "out"
    )

    assert result.exit_code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a-2.png", "a-3.png", "a.png"]


def test_a_drawing_can_be_named_for_a_single_image_only(ask, photo, tmp_path):
    picture = tmp_path / "new" / "answer.jpg"

    assert ask("segment", photo("a.png"), "--save", picture).exit_code == 0
    with Image.open(picture) as written:
        assert written.format == "JPEG"
    assert ask("segment", photo("a.png"), photo("b.png"), "--save", picture).exit_code == 2


def test_a_mask_is_drawn_in_the_colours_of_the_server(ask, photo, tmp_path):
    ask("segment", photo("a.png", (3, 2)), "--save", tmp_path / "answer.png")

    picture = np.asarray(Image.open(tmp_path / "answer.png")).astype(int)
    scale = SMALLEST_SIDE_PX // 3
    centers = picture[scale // 2 : 2 * scale : scale, scale // 2 : 3 * scale : scale]
    colors = np.where((MASK == 7)[..., None], [1, 2, 3], [0, 0, 0])
    np.testing.assert_allclose(centers, (90 + colors) / 2, atol=1)


def test_boxes_are_drawn_where_they_are_after_exif_rotation(ask, photo, tmp_path, pictures):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: 3 wide and 4 high, shown 4 wide and 3 high
    del pictures.detections.detections[1]
    ask("detect", photo("a.jpg", (3, 4), exif=exif), "--save", tmp_path / "answer.png")

    picture = np.asarray(Image.open(tmp_path / "answer.png"))
    scale = SMALLEST_SIDE_PX // 4
    assert picture.shape[1] == 4 * scale
    is_line = (picture[: 3 * scale] == color_of(7)).all(axis=-1)
    rows, columns = np.nonzero(is_line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (
        0,
        2 * scale,
        scale,
        3 * scale,
    )


def segmented(mask: np.ndarray, palette: np.ndarray) -> Segmentation:
    regions = tuple(
        Region(f"class {index}", int(index), int(count), count / mask.size, 0.5, ())
        for index, count in zip(*np.unique(mask, return_counts=True), strict=True)
    )
    return Segmentation(mask, regions, {}, b"", palette, ModelIdentity("m", 1, ""), TIMING)


@pytest.fixture
def striped():
    """Three vertical stripes of 200 px on a photo with noise, and the picture of them."""
    generator = np.random.default_rng(0)
    photo = Image.fromarray(generator.integers(0, 256, (300, 600, 3), np.uint8))
    mask = np.repeat(np.arange(3, dtype=np.uint8), 200)[None].repeat(300, axis=0)
    palette = np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)
    return photo, segmented(mask, palette)


def test_the_legend_has_the_colours_that_are_seen_in_the_picture(striped):
    picture = np.asarray(draw_segmentation(*striped)).astype(int)
    legend = {tuple(color) for color in picture[300:].reshape(-1, 3)}
    for index in range(3):
        seen = picture[:300, 200 * index + 10 : 200 * index + 190].reshape(-1, 3).mean(axis=0)
        distances = [np.abs(np.array(color) - seen).max() for color in legend]
        assert min(distances) < 2


def test_a_colour_in_the_picture_of_a_mask_means_a_class_and_nothing_else(striped):
    photo, answer = striped
    picture = np.asarray(draw_segmentation(photo, answer)).astype(int)[:300]
    grey = np.asarray(photo.convert("L")).astype(int)[..., None]
    inside = np.arange(600) % 200 // 10 % 19 > 0  # a stripe's middle
    expected = (grey + answer.palette.astype(int)[answer.mask]) / 2
    np.testing.assert_allclose(picture[:, inside], expected[:, inside], atol=1)


def test_a_dark_line_divides_the_regions_of_a_mask(striped):
    picture = np.asarray(draw_segmentation(*striped))[:300]
    is_line = (picture == OUTLINE).all(axis=-1)
    assert is_line[:, [199, 200, 399, 400]].all()
    assert is_line.any(axis=0).sum() == 4


def test_a_region_that_its_line_hides_is_in_the_legend_as_if_on_mean_grey():
    mask = np.zeros((300, 4000), np.uint8)
    mask[100, 200] = 1
    palette = np.array([(200, 0, 0), (0, 200, 0)], np.uint8)
    photo = Image.new("RGB", (4000, 300), (90, 90, 90))
    picture = np.asarray(draw_segmentation(photo, segmented(mask, palette)))
    is_line = (picture[:300] == OUTLINE).all(axis=-1)
    assert is_line[96:106, 200].all()
    assert is_line[100, 196:206].all()
    assert is_line.sum() < 100
    assert (picture[300:] == (64, 164, 64)).all(axis=-1).any()


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (5000, 4), (3, 5000), (2, 2)])
def test_masks_of_any_size_have_a_legend(size):
    width, height = size
    mask = np.indices((height, width)).sum(axis=0).astype(np.uint8) % 2
    palette = np.array([(200, 0, 0), (0, 200, 0)], np.uint8)
    photo = Image.new("RGB", size, (90, 90, 90))
    picture = draw_segmentation(photo, segmented(mask, palette))
    assert picture.height >= height * (picture.width // width) + 12


def test_a_label_may_be_given_a_colour(striped):
    photo, answer = striped
    grey = Image.new("RGB", photo.size, (90, 90, 90))
    picture = draw_segmentation(grey, answer, {"class 1": (10, 20, 30), "absent": (1, 1, 1)})
    assert picture.getpixel((300, 150)) == (50, 55, 60)
    assert picture.getpixel((100, 150)) == (145, 45, 45)


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_a_box_has_a_dark_line_to_both_sides_of_the_coloured_one(shade):
    found = Detection((100, 100, 300, 200), "a thing", 3, 0.5, (300, 600), b"", ())
    answer = Detections((found,), (300, 600), ModelIdentity("m", 1, ""), TIMING)
    picture = draw_detections(Image.new("RGB", (600, 300), (shade,) * 3), answer)
    across = [picture.getpixel((x, 150)) for x in range(98, 105)]
    photo, line = (shade,) * 3, color_of(3)
    assert across == [photo, OUTLINE, line, line, OUTLINE, photo, photo]


def test_the_dark_line_of_a_box_hides_no_coloured_line_of_another():
    boxes = ((100, 100, 300, 200), (102, 50, 250, 250), (104, 10, 240, 280))
    found = tuple(Detection(box, "a thing", 3, 0.5, (300, 600), b"", ()) for box in boxes)
    answer = Detections(found, (300, 600), ModelIdentity("m", 1, ""), TIMING)
    picture = draw_detections(Image.new("RGB", (600, 300)), answer)
    assert [picture.getpixel((x, 150)) for x in range(100, 106)] == [color_of(3)] * 6


@pytest.mark.parametrize("size", [(1, 1), (20, 3), (640, 480), (5000, 40), (4000, 3000)])
@pytest.mark.parametrize("number", [0, 1, 60])
def test_boxes_on_images_of_any_size_have_a_legend(size, number):
    width, height = size
    found = Detection((0, 0, width, height), "a thing", 3, 0.5, (height, width), b"", ())
    answer = Detections((found,) * number, (height, width), ModelIdentity("m", 1, ""), TIMING)

    picture = draw_detections(Image.new("RGB", size), answer)

    scale = picture.width // width
    assert max(picture.size) >= 320
    legend = np.asarray(picture)[height * scale :]
    assert legend.shape[0] >= 12
    color = color_of(3) if number else (128, 128, 128)
    assert (legend == color).all(axis=-1).any()
