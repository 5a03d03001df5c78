import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from sightline.results.png import decode_png
from tests.support.png_files import png_chunk, png_file

GREY = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


def png(rows: bytes, height: int, width: int, *, bits: int = 8, colour: int = 0) -> bytes:
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return png_file(width, height, pixels, bits=bits, colour=colour)


@given(GREY, st.data())
def test_rows_of_any_filters_are_read_as_pillow_reads_them(pixels, data):
    height, width = pixels.shape
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    rows = b"".join(bytes([kind]) + row.tobytes() for kind, row in zip(kinds, pixels, strict=True))
    file = png(rows, height, width)

    ours = decode_png(file, height=height, width=width)

    np.testing.assert_array_equal(ours.pixels, np.asarray(Image.open(BytesIO(file))))
    assert ours.palette.shape == (0, 3)


@given(GREY)
def test_files_that_opencv_writes_are_read(pixels):
    file = cv2.imencode(".png", pixels)[1].tobytes()
    height, width = pixels.shape
    np.testing.assert_array_equal(decode_png(file, height=height, width=width).pixels, pixels)


@given(GREY)
def test_a_palette_comes_with_its_colours(pixels):
    image, file = Image.fromarray(pixels), BytesIO()
    colors = np.arange(768, dtype=np.uint8).reshape(256, 3)
    image.putpalette(colors.tobytes())
    image.save(file, "PNG", bits=8)

    ours = decode_png(file.getvalue(), height=pixels.shape[0], width=pixels.shape[1])

    np.testing.assert_array_equal(ours.pixels, pixels)
    np.testing.assert_array_equal(ours.palette, colors)


WHOLE = png(bytes(4 * 4), 4, 3)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"GIF89a", "no PNG"),
        (WHOLE[:-20], "cut off"),
        (png(bytes(16), 3, 4), "3 x 4 pixels, not 4 x 3"),
        (png(bytes(16), 4, 3, bits=16), "16 bits"),
        (png(bytes(16), 4, 3, colour=2), "colour type 2"),
        (png(bytes(15), 4, 3), "another number of pixels"),
        (png(bytes(1000), 4, 3), "another number of pixels"),
        (png(b"\x05" + bytes(15), 4, 3), "a filter that does not exist"),
        (
            WHOLE.replace(zlib.compress(bytes(16)), b"\xff" * len(zlib.compress(bytes(16)))),
            "damaged",
        ),
    ],
)
def test_an_invalid_file_is_refused(file, reason):
    with pytest.raises(ValueError, match=reason):
        decode_png(file, height=4, width=3)
