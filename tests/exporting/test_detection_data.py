import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from export.errors import DataError
from export.train.data import nuclei
from export.train.data.bccd import BCCD_FILE, BCCD_LABELS, read_bccd
from export.train.data.boxed import BoxedImage
from export.train.data.nuclei import FOLDER_IN_PACKAGE, IMAGE_FILE, MASK_FILE, read_nuclei
from export.train.detection.augment import Augmentation, augment, collate, cut, mirror, turn
from export.train.detection.score import average_precision
from service.processing.nms import Detections

# BCCD


def write_bccd(folder: Path, boxes: list[dict[str, object]], image: bytes | None = None) -> None:
    if image is None:
        file = io.BytesIO()
        Image.new("RGB", (64, 48), (200, 100, 90)).save(file, "PNG")
        image = file.getvalue()
    rows = [
        {"split": split, "name": f"{split}.png", "image": image, "boxes": boxes}
        for split in ("train", "test")
    ]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / BCCD_FILE)


def cell(label: str, *edges: float) -> dict[str, object]:
    return {"label": label, **dict(zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))}


def test_bccd_counts_pixels_from_zero_and_drops_points(tmp_path: Path) -> None:
    write_bccd(
        tmp_path, [cell("WBC", 1, 1, 64, 48), cell("RBC", 9, 9, 9, 9), cell("RBC", 5, 6, 15, 26)]
    )
    (image,) = read_bccd(tmp_path, "train")
    assert image.pixels.shape == (48, 64, 3)
    assert image.boxes.tolist() == [[0, 0, 64, 48], [4, 5, 15, 26]]
    assert [BCCD_LABELS[target] for target in image.targets] == ["WBC", "RBC"]


def test_an_image_without_cells_has_no_boxes(tmp_path: Path) -> None:
    write_bccd(tmp_path, [cell("RBC", 9, 9, 9, 9)])
    assert read_bccd(tmp_path, "test")[0].boxes.shape == (0, 4)


def test_several_splits_are_read_together(tmp_path: Path) -> None:
    write_bccd(tmp_path, [cell("RBC", 1, 1, 9, 9)])
    assert [image.name for image in read_bccd(tmp_path, "train", "test")] == [
        "train.png",
        "test.png",
    ]


def test_a_missing_bccd_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bccd\.parquet.*github\.com/Shenggan/BCCD_Dataset"):
        read_bccd(tmp_path, "train")


def test_a_bccd_without_the_split_is_refused(tmp_path: Path) -> None:
    write_bccd(tmp_path, [cell("RBC", 1, 1, 9, 9)])
    with pytest.raises(DataError, match="no rows of the split val"):
        read_bccd(tmp_path, "val")


def test_a_bccd_with_other_content_is_refused(tmp_path: Path) -> None:
    write_bccd(tmp_path, [cell("dog", 1, 1, 9, 9)])
    with pytest.raises(DataError, match="something else than BCCD"):
        read_bccd(tmp_path, "train")
    write_bccd(tmp_path, [cell("RBC", 1, 1, 9, 9)], image=b"no image")
    with pytest.raises(DataError, match="something else than BCCD"):
        read_bccd(tmp_path, "train")


def test_the_real_bccd_has_all_its_cells(data_dir: Path) -> None:
    images = read_bccd(data_dir, "test")
    assert len(images) == 72
    assert [sum((image.targets == index).sum() for image in images) for index in range(3)] == [
        805,
        71,
        69,
    ]


# Nuclei


def nuclei_arrays() -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """64 px wide: the border is at 40."""
    mask = np.zeros((32, 64), np.uint16)
    mask[4:12, 6:20] = 1
    mask[10:20, 33:47] = 2  # on the border
    mask[0:2, 50:60] = 3  # a sliver
    return (mask > 0).astype(np.uint16) * 100 + 20, mask


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuclei.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def nuclei_files(tmp_path: Path) -> Path:
    image, mask = nuclei_arrays()
    tifffile.imwrite(tmp_path / IMAGE_FILE, image)
    tifffile.imwrite(tmp_path / MASK_FILE, mask)
    return tmp_path


def test_nuclei_are_cut_at_the_border_and_slivers_are_dropped(nuclei_files: Path) -> None:
    left, right = (read_nuclei(nuclei_files, side) for side in ("train", "test"))
    assert (left.pixels.shape, right.pixels.shape) == ((32, 40, 3), (32, 24, 3))
    assert left.boxes.tolist() == [[6, 4, 20, 12], [33, 10, 40, 20]]
    assert right.boxes.tolist() == [[0, 10, 7, 20]]
    assert left.targets.tolist() == [0, 0]


def test_nuclei_are_found_in_a_wheel_that_was_never_installed(
    nuclei_files: Path, tmp_path_factory: pytest.TempPathFactory, without_package: None
) -> None:
    folder = tmp_path_factory.mktemp("data")
    with zipfile.ZipFile(folder / "stardist-0.9.2-cp311-none-any.whl", "w") as archive:
        for name in (IMAGE_FILE, MASK_FILE):
            archive.write(nuclei_files / name, f"{FOLDER_IN_PACKAGE}/{name}")
    found, expected = read_nuclei(folder, "train"), read_nuclei(nuclei_files, "train")
    assert np.array_equal(found.pixels, expected.pixels)
    assert np.array_equal(found.boxes, expected.boxes)


def test_missing_nuclei_say_where_to_get_them(tmp_path: Path, without_package: None) -> None:
    with pytest.raises(DataError, match=r"pip download --no-deps stardist==0\.9\.2"):
        read_nuclei(tmp_path, "train")


@pytest.mark.parametrize("broken", [IMAGE_FILE, MASK_FILE])
def test_broken_nuclei_are_refused(nuclei_files: Path, broken: str) -> None:
    (nuclei_files / broken).write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot read"):
        read_nuclei(nuclei_files, "train")


def test_a_mask_of_another_size_is_refused(nuclei_files: Path) -> None:
    tifffile.imwrite(nuclei_files / MASK_FILE, np.ones((9, 9), np.uint16))
    with pytest.raises(DataError, match="not a grey image and its mask"):
        read_nuclei(nuclei_files, "train")


def test_a_wheel_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "stardist-0.9.2-cp311-none-any.whl", "w") as archive:
        archive.writestr("something", "else")
    with pytest.raises(DataError, match=r"cannot read .*stardist-0\.9\.2"):
        read_nuclei(tmp_path, "train")


# Augmentation


def marked(rng: np.random.Generator, height: int = 60, width: int = 90) -> BoxedImage:
    """Black, with a white rectangle where its box is."""
    x1, y1 = rng.integers(0, width - 20), rng.integers(0, height - 20)
    x2, y2 = x1 + rng.integers(8, 20), y1 + rng.integers(8, 20)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y1:y2, x1:x2] = 255
    return BoxedImage("", pixels, np.array([[x1, y1, x2, y2]], np.float32), np.array([7]))


def box_of_the_mark(pixels: NDArray[np.uint8]) -> list[int]:
    rows, columns = np.nonzero(pixels[:, :, 0] > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_boxes_stay_on_what_they_mark(seed: int) -> None:
    rng = np.random.default_rng(seed)
    how = Augmentation(
        64, 48, zoom=(0.6, 1.8), stretch=1.3, quarter_turns=True, flips_vertically=True
    )
    image = augment(marked(rng), how, rng)
    assert (image.pixels.shape, image.pixels.dtype) == ((64, 48, 3), np.uint8)
    for box in image.boxes:
        np.testing.assert_allclose(box, box_of_the_mark(image.pixels), atol=2)


def test_the_same_seed_gives_the_same_image() -> None:
    how = Augmentation(32, 32, zoom=(0.5, 2.0), brightness=0.2, contrast=1.5, saturation=1.5)
    image = marked(np.random.default_rng(0))
    first, second = (augment(image, how, np.random.default_rng(5)).pixels for _ in range(2))
    assert np.array_equal(first, second)


def test_four_turns_and_two_mirrors_change_nothing() -> None:
    image = marked(np.random.default_rng(1))
    back = mirror(mirror(turn(turn(turn(turn(image))))))
    assert np.array_equal(back.pixels, image.pixels)
    assert np.array_equal(back.boxes, image.boxes)


def test_a_box_that_is_hardly_seen_is_dropped() -> None:
    pixels = np.zeros((50, 50, 3), np.uint8)
    image = BoxedImage(
        "", pixels, np.array([[0, 0, 20, 20], [10, 0, 20, 20]], np.float32), np.r_[4, 5]
    )
    window = cut(image, left=15, top=0, width=30, height=30)
    assert window.boxes.tolist() == [[0, 0, 5, 20]]  # a quarter of the first, half of the second
    assert window.targets.tolist() == [5]


def test_a_batch_is_filled_up_with_unused_rows() -> None:
    empty = BoxedImage(
        "", np.zeros((8, 9, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, int)
    )
    full = BoxedImage("", np.ones((8, 9, 3), np.uint8), np.ones((2, 4), np.float32), np.r_[1, 2])
    pixels, boxes, targets = collate([empty, full])
    assert pixels.shape == (2, 3, 8, 9)
    assert boxes.shape == (2, 2, 4)
    assert targets.tolist() == [[-1, -1], [1, 2]]


# Scores


def photographs() -> list[BoxedImage]:
    rng = np.random.default_rng(3)
    images = []
    for _ in range(4):
        corners = rng.uniform(0, 50, (5, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (5, 2))], axis=1)
        pixels = np.zeros((100, 100, 3), np.uint8)
        images.append(BoxedImage("", pixels, boxes.astype(np.float32), np.arange(5) % 2))
    return images


def found_in(images: list[BoxedImage], shift: float = 0.0) -> list[Detections]:
    scores = np.linspace(0.9, 0.5, 5, dtype=np.float32)
    return [
        Detections(
            image.boxes + np.float32(shift), image.targets, scores, np.arange(len(image.boxes))
        )
        for image in images
    ]


def test_perfect_detections_score_one() -> None:
    images = photographs()
    score = average_precision(images, found_in(images), ("a", "b"))
    assert (score.map50, score.map50_95) == pytest.approx((1, 1))
    assert score.ap50_by_label == {"a": pytest.approx(1), "b": pytest.approx(1)}


def test_nothing_found_scores_nothing() -> None:
    images = photographs()
    none = np.zeros(0, int)
    nothing = Detections(np.zeros((0, 4), np.float32), none, np.zeros(0, np.float32), none)
    assert average_precision(images, [nothing] * 4, ("a", "b")).map50 == 0


def test_inexact_boxes_score_less_where_overlap_must_be_high() -> None:
    images = photographs()
    score = average_precision(images, found_in(images, shift=1.0), ("a", "b"))
    assert 0.1 < score.map50_95 < score.map50


def test_the_wrong_class_is_not_found() -> None:
    images = photographs()
    swapped = [each._replace(labels=1 - each.labels) for each in found_in(images)]
    assert average_precision(images, swapped, ("a", "b")).map50 < 0.3


def test_a_class_that_is_not_there_does_not_count() -> None:
    images = photographs()
    assert average_precision(images, found_in(images), ("a", "b", "c")).map50 == pytest.approx(1)
