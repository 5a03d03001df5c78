import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sightline.results.coco_rle import decode_rle, encode_rle

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30))


@given(MASKS)
def test_strings_equal_those_of_the_coco_tools(mask):
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    height, width = mask.shape

    assert encode_rle(mask) == theirs["counts"]
    np.testing.assert_array_equal(decode_rle(theirs["counts"], height=height, width=width), mask)


@pytest.mark.parametrize("side", [700, 3000])
def test_long_runs_and_many_runs_survive(side):
    stripes = np.zeros((side, side), np.bool_)
    stripes[side // 3 :, ::7] = True
    stripes[:, side // 2 :] |= True
    theirs = coco.encode(np.asfortranarray(stripes.astype(np.uint8)))

    assert encode_rle(stripes) == theirs["counts"]
    np.testing.assert_array_equal(decode_rle(encode_rle(stripes), height=side, width=side), stripes)


@given(st.binary(max_size=40))
def test_any_other_bytes_are_a_mask_of_that_size_or_refused(string):
    try:
        mask = decode_rle(string, height=5, width=7)
    except ValueError:
        return
    assert mask.shape == (5, 7)


@pytest.mark.parametrize(
    "string", [b"", b"\x10", b"~", b"P", b"P" * 20 + b"0", encode_rle(np.ones((5, 6)) > 0)]
)
def test_an_invalid_string_is_refused(string):
    with pytest.raises(ValueError, match="run-length string"):
        decode_rle(string, height=5, width=7)
