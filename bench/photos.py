"""Photographs to measure with, made from those of scikit-image; the same bytes every time."""

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

SENSOR_NOISE = 2.0  # standard deviation in levels, as of a phone by day


@cache
def photo_500x375() -> bytes:
    """A cup of coffee as a web page shows it: 500 x 375 JPEG, quality 90, chroma halved, 47 kB."""
    return _jpeg(_coffee().resize((500, 375), Image.Resampling.LANCZOS), quality=90)


@cache
def photo_12mp() -> bytes:
    """The same cup as a phone would take it: 4000 x 3000 JPEG, quality 90, chroma halved, 3 MB.

    An enlarged photograph is smooth, so it is too easy to decode. The detail of a real one of 12
    megapixels is added: a texture photographed close by, in mirrored tiles, and noise.
    """
    enlarged = np.asarray(_coffee().resize((4000, 3000), Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(0).normal(0, SENSOR_NOISE, enlarged.shape)
    detailed = enlarged + _fine_detail(3000, 4000)[..., None] + noise
    return _jpeg(Image.fromarray(detailed.clip(0, 255).astype(np.uint8)), quality=90)


def _coffee() -> Image.Image:
    """The largest 4:3 rectangle of the photograph, 533 x 400."""
    return Image.fromarray(data.coffee()).crop((33, 0, 566, 400))


def _fine_detail(height: int, width: int) -> NDArray[np.float32]:
    """The detail that a blur removes from a photographed texture, ``[height, width]``, around 0."""
    texture = data.gravel()
    blurred = Image.fromarray(texture).reduce(4).resize(texture.shape, Image.Resampling.BICUBIC)
    detail = 0.3 * (texture.astype(np.float32) - np.asarray(blurred, np.float32))
    rows, columns = texture.shape
    return np.pad(detail, ((0, height - rows), (0, width - columns)), mode="symmetric")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()
