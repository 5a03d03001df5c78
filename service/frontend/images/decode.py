"""From the image of a request to the row of pixels that the network takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

import cv2
import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import PADDING_LEVEL, ImagePreprocessing
from service.frontend.errors import InvalidInput
from service.frontend.images.formats import read_header
from service.frontend.images.header import ImageFormat, ImageHeader
from service.frontend.images.jpeg_decoder import decode_jpeg, jpeg_scale
from service.frontend.images.memory import DecodeMemory
from service.frontend.images.pillow_decoder import decode_other
from service.frontend.images.resample import Crop, crop_of, resample, resample_exactly
from sightline.v1 import image_pb2


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large an image may be. Checked before an image is decoded."""

    max_image_bytes: int
    """Size of one image file."""
    max_image_pixels: int
    """Width x height. Decoding takes up to 16 bytes for each pixel (ADR 0003)."""
    max_image_side_px: int
    max_raw_mask_bytes: int = 1 << 26
    """Total of the uncompressed masks of a response."""
    decode_memory: DecodeMemory = field(default_factory=lambda: DecodeMemory(2 << 30))


class _Colours(Enum):
    GREY = auto()
    RGB = auto()
    CMYK = auto()


def decode_image(
    image: image_pb2.Image,
    preprocessing: ImagePreprocessing,
    out: NDArray[np.uint8],
    limits: ImageLimits,
    *,
    exact: bool = False,
    check: Callable[[], None] = lambda: None,
) -> tuple[int, int]:
    """Write the row that the graph takes into ``out``; safe to use from many threads.

    Files are turned upright by their EXIF orientation, then cropped and resized as
    ``preprocessing`` says. Pixels are cropped and resized, too, unless they have exactly the
    network's height and width: then they are used unchanged, and ``crop_share`` is ignored. Alpha
    is dropped: the stored colours are used without blending.

    Args:
        image: of the request.
        preprocessing: the network's.
        out: ``[height, width, channels]``, contiguous; may be shared memory. After an error its
            content is undefined.
        limits: the server's.
        exact: resize exactly as the training transform, bit for bit, which takes longer; otherwise
            resize approximately.
        check: called before a file is decoded, and while it waits for memory; may raise to stop.

    Returns:
        Width and height of the upright image, in px.

    Raises:
        InvalidInput: the image cannot be used; the message says why, and what to send instead.
    """
    pixels = image.pixels  # all zeros if the image is a file
    if (pixels.height, pixels.width, pixels.channels) == out.shape:
        data = pixels.data
        if len(data) == out.nbytes:
            out.data.cast("B")[:] = data  # takes half the time of `bytes_of`
            return out.shape[1], out.shape[0]
    if _source_of(image) == "encoded":
        row, colours, size = _decode_file(image.encoded, preprocessing, limits, exact, check)
    else:
        row, colours = _take_pixels(image.pixels, preprocessing, limits, exact)
        size = image.pixels.width, image.pixels.height
    height, width = row.shape[:2]
    if (height, width) != out.shape[:2]:  # letterboxed: centred, as `place` says
        out[:] = PADDING_LEVEL
        top, left = (out.shape[0] - height) // 2, (out.shape[1] - width) // 2
        out = out[top : top + height, left : left + width]
    _write(row, colours, out)
    return size


def decode_upright(
    image: image_pb2.Image, width: int, height: int, limits: ImageLimits
) -> NDArray[np.uint8]:
    """The whole image, upright, in colour, at the given size: ``[height, width, 3]``.

    Raises:
        InvalidInput: the image cannot be used.
    """
    out = np.empty((height, width, 3), np.uint8)
    whole = ImagePreprocessing(height=height, width=width, fit="stretch")
    decode_image(image, whole, out, limits)
    return out


def upright_size(image: image_pb2.Image, limits: ImageLimits) -> tuple[int, int]:
    """Width and height of the upright image in px, without decoding it.

    Raises:
        InvalidInput: the image cannot be used.
    """
    if _source_of(image) == "encoded":
        return _check_file(image.encoded, limits).upright_size
    width, height = image.pixels.width, image.pixels.height
    _check_size(width, height, limits)
    return width, height


def _source_of(image: image_pb2.Image) -> str:
    source = image.WhichOneof("source")
    if source is None:
        raise InvalidInput("the image is empty; set either `encoded` or `pixels`")
    return source


def _check_file(file: bytes, limits: ImageLimits) -> ImageHeader:
    if not file:
        raise InvalidInput("the image file has 0 bytes; send the whole file")
    if len(file) > limits.max_image_bytes:
        raise InvalidInput(
            f"the image file has {len(file):,} bytes, the limit is {limits.max_image_bytes:,}; send"
            " a smaller one"
        )
    header = read_header(file)
    _check_size(header.width, header.height, limits)
    return header


def _decode_file(
    file: bytes,
    preprocessing: ImagePreprocessing,
    limits: ImageLimits,
    exact: bool,
    check: Callable[[], None],
) -> tuple[NDArray[np.uint8], _Colours, tuple[int, int]]:
    header = _check_file(file, limits)
    crop = crop_of(header.width, header.height, header.orientation, preprocessing)
    check()
    with limits.decode_memory.for_pixels(header.width * header.height, check):
        if header.format is ImageFormat.JPEG:
            scale = 1 if exact else jpeg_scale(header, crop)
            pixels = decode_jpeg(file, header, scale, grey=preprocessing.channels == 1)
            crop = crop.scaled_down(scale)
        else:
            pixels = decode_other(file, header)
        row = _resize(pixels, crop, preprocessing, exact)
    colours = _Colours.CMYK if header.components == 4 else _colours_of(pixels)
    return row, colours, header.upright_size


def _resize(
    pixels: NDArray[np.uint8], crop: Crop, preprocessing: ImagePreprocessing, exact: bool
) -> NDArray[np.uint8]:
    return (resample_exactly if exact else resample)(pixels, crop, preprocessing.interpolation)


def _take_pixels(
    pixels: image_pb2.Pixels,
    preprocessing: ImagePreprocessing,
    limits: ImageLimits,
    exact: bool,
) -> tuple[NDArray[np.uint8], _Colours]:
    height, width, channels = pixels.height, pixels.width, pixels.channels
    data = pixels.data  # each access makes a copy
    if channels not in (1, 3):
        raise InvalidInput(f"pixels have {channels} channels; send 1 (grey) or 3 (RGB)")
    _check_size(width, height, limits)
    if len(data) != height * width * channels:
        raise InvalidInput(
            f"pixels are {len(data):,} bytes, but {height} x {width} x {channels} (height,"
            f" width, channels) are {height * width * channels:,}; send one byte for each value"
        )
    given = np.frombuffer(data, np.uint8)
    given = given.reshape((height, width, 3) if channels == 3 else (height, width))
    if (height, width) != (preprocessing.height, preprocessing.width):
        crop = crop_of(width, height, 1, preprocessing)
        given = _resize(given, crop, preprocessing, exact)
    return given, _colours_of(given)


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise InvalidInput(f"the image is {width} x {height} px; send one of at least 1 x 1")
    if max(width, height) > limits.max_image_side_px or width * height > limits.max_image_pixels:
        raise InvalidInput(
            f"the image is {width} x {height} px; the limit for a side is"
            f" {limits.max_image_side_px:,} px, for the image {limits.max_image_pixels:,} px; send"
            " it scaled down"
        )


def _colours_of(pixels: NDArray[np.uint8]) -> _Colours:
    return _Colours.GREY if pixels.ndim == 2 else _Colours.RGB


def _write(row: NDArray[np.uint8], colours: _Colours, out: NDArray[np.uint8]) -> None:
    """Convert ``[H, W]`` or ``[H, W, 3 or 4]`` into ``out``, in its number of channels."""
    if colours is _Colours.CMYK:
        # Files store CMYK inverted, as Adobe does: 255 is no ink.
        inks = row.astype(np.uint16)
        row = ((inks[:, :, :3] * inks[:, :, 3:] + 127) // 255).astype(np.uint8)
    is_grey = out.shape[2] == 1
    if colours is _Colours.GREY:
        if is_grey:
            out[:, :, 0] = row
        else:
            cv2.cvtColor(row, cv2.COLOR_GRAY2RGB, dst=out)
    elif is_grey:
        code = cv2.COLOR_RGBA2GRAY if row.shape[2] == 4 else cv2.COLOR_RGB2GRAY
        cv2.cvtColor(row, code, dst=out[:, :, 0])
    elif row.shape[2] == 4:
        cv2.cvtColor(row, cv2.COLOR_RGBA2RGB, dst=out)
    else:
        out[:] = row
