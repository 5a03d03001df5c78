import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from sightline.errors import MessageTooLarge
from sightline.requests.images import image_from, upright

LIMIT = 1 << 20


def pixels_of(photo) -> np.ndarray:
    pixels = image_from(photo, max_bytes=LIMIT).pixels
    shape = (pixels.height, pixels.width, pixels.channels)
    return np.frombuffer(pixels.data, np.uint8).reshape(shape)  # [H, W, C]


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))
)
def test_an_array_is_sent_unchanged(array):
    assert np.array_equal(pixels_of(array), array)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_grey_array_needs_no_channel_axis(array):
    assert np.array_equal(pixels_of(array)[..., 0], array)


def test_a_non_contiguous_array_is_sent_unchanged():
    photo = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for view in (photo[::-1], photo[:, ::2], photo[..., ::-1], np.asfortranarray(photo)):
        assert np.array_equal(pixels_of(view), view)


@given(st.binary(min_size=1))
def test_bytes_are_sent_unchanged(content):
    assert image_from(content, max_bytes=LIMIT).encoded == content


class Tensor:
    """What torch's tensors have."""

    def __array__(self, dtype=None, copy=None):
        return np.full((2, 2), 7, np.uint8)


def test_any_object_that_numpy_can_read_is_an_array():
    assert pixels_of(Tensor()).max() == 7


@pytest.mark.parametrize(
    ("shape", "dtype", "advice"),
    [
        ((4, 4, 3), "float32", r"\(255 \* image\)\.round\(\)\.astype\(np\.uint8\)"),
        ((4, 4, 3), "int64", "convert it to uint8"),
        ((4, 4, 3), "bool", "convert it to uint8"),
        ((4, 4, 4), "uint8", r"image\[\.\.\., :3\]"),
        ((3, 8, 8), "uint8", r"image\.transpose\(1, 2, 0\)"),
        ((2, 4, 4, 3), "uint8", "classify_many"),
        ((4, 4, 2), "uint8", r"\[H, W, 3\] RGB or \[H, W\] grey, not \[4, 4, 2\]"),
        ((4,), "uint8", r"not \[4\]"),
        ((), "uint8", r"not \[\]"),
        ((0, 4, 3), "uint8", "1 to 65535 pixels, not 0 x 4"),
        ((1, 65536), "uint8", "not 1 x 65536"),
    ],
)
def test_an_array_that_is_no_image_is_refused_with_advice(shape, dtype, advice):
    with pytest.raises(ValueError, match=advice):
        image_from(np.zeros(shape, dtype), max_bytes=LIMIT)


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=5, max_side=5)))
def test_any_array_is_either_an_image_or_a_value_error(array):
    try:
        image = image_from(array, max_bytes=LIMIT)
    except ValueError:
        return
    assert len(image.pixels.data) == array.size


@pytest.mark.parametrize("thing", [None, 5, 1.5, ["photo.jpg"], object(), {"photo": b""}])
def test_any_other_object_is_a_type_error(thing):
    with pytest.raises(TypeError, match=type(thing).__name__):
        image_from(thing, max_bytes=LIMIT)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"a str is read as a path.*'absent\.jpg'"):
        image_from("absent.jpg", max_bytes=LIMIT)


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(IsADirectoryError):
        image_from(tmp_path, max_bytes=LIMIT)


def test_an_empty_file_is_no_image(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ValueError, match=r"empty\.jpg has 0 bytes"):
        image_from(tmp_path / "empty.jpg", max_bytes=LIMIT)


def test_base64_text_is_no_path():
    text = "/9j/4AAQ" * 1000
    with pytest.raises(FileNotFoundError, match=r"for an image in memory pass its bytes.*\.\.\.'"):
        image_from(text, max_bytes=LIMIT)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: no disk holds it, and no memory would
    with pytest.raises(MessageTooLarge, match="1,099,511,627,776 bytes"):
        image_from(path, max_bytes=LIMIT)


RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_a_pillow_image_is_sent_as_it_is_displayed(mode):
    photo = RGB.convert(mode)
    expected = np.asarray(photo if mode == "L" else photo.convert("RGB")).reshape(6, 4, -1)

    assert np.array_equal(pixels_of(photo), expected)


def test_16_bit_grey_of_pillow_is_cut_to_its_upper_bits_as_a_file_would_be():
    levels = np.arange(0, 1 << 16, 1 << 8, dtype=np.uint16).reshape(16, 16) + 200
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")

    assert np.array_equal(pixels_of(Image.open(file))[:, :, 0], levels >> 8)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_pillow_image_of_more_than_8_bits_is_refused(mode):
    with pytest.raises(ValueError, match="convert it to 'L' or 'RGB'"):
        image_from(Image.new(mode, (4, 4)), max_bytes=LIMIT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pillow_image_is_turned_upright_as_a_file_would_be(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    RGB.save(file, "PNG", exif=exif)
    photo = Image.open(file)

    assert np.array_equal(pixels_of(photo), np.asarray(ImageOps.exif_transpose(photo)))


def test_an_unknown_orientation_changes_nothing():
    array = np.asarray(RGB)
    assert upright(array, 0) is array
    assert upright(array, 9) is array


@pytest.mark.parametrize("exif", [b"Exif\0\0no TIFF", b"Exif\0\0II*\0"])
def test_a_pillow_image_with_damaged_exif_stays_as_it_is(exif):
    file = io.BytesIO()
    RGB.save(file, "PNG", exif=exif)

    assert np.array_equal(pixels_of(Image.open(file)), np.asarray(RGB))
