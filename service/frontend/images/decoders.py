"""Image files to pixels: JPEG with libjpeg-turbo, the other formats with Pillow.

OpenCV is not used: for a truncated image it returns memory of an earlier image (opencv#26488), and
some damaged PNG files crash it (opencv#27744).
"""

import io
import re

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs] - it has them for a submodule only
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.frontend.errors import InvalidInput
from service.frontend.images.header import ImageFormat, ImageHeader, truncated
from service.frontend.images.resample import Crop

# Opened by class: `Image.open` would detect the format again and apply its own limit.
_PILLOW_READERS = {
    ImageFormat.PNG: PngImageFile,
    ImageFormat.WEBP: WebPImageFile,
    ImageFormat.BMP: BmpImageFile,
}
_BAND_PIXELS = 1 << 20
_JPEG_SCALES = (8, 4, 2)  # the scales between are slower than full size: they have no vector code
_MIN_SCALED_SIDE_PX = 64  # below, simplejpeg could pick another scale of the same rounded size

# Cameras write complete images that cause these warnings. Bytes before a restart marker (d0 to d7)
# are different: there, a part of the image is missing. (For bytes in the header, libjpeg-turbo does
# not report whether they are harmless.)
_HARMLESS_JPEG_WARNING = re.compile(
    r"extraneous bytes before marker 0x(?!d[0-7])|Invalid SOS parameters"
)


def decode_jpeg(file: bytes, header: ImageHeader, scale: int, *, grey: bool) -> NDArray[np.uint8]:
    """Decode a JPEG at ``1 / scale`` of its size; see `jpeg_scale`.

    Returns:
        ``[h, w]`` grey, if ``grey`` is set or the file is grey; ``[h, w, 4]`` inverted CMYK if the
        file is CMYK; else ``[h, w, 4]`` with red, green, blue and a channel to ignore. ``h, w`` are
        the header's size divided by ``scale``, rounded up.

    Raises:
        InvalidInput: the file is damaged or incomplete.
    """
    colours = {1: "GRAY", 3: "GRAY" if grey else "RGBX", 4: "CMYK"}[header.components]
    try:
        pixels = _decode_jpeg(file, header, scale, colours, strict=True)
    except Exception as err:
        if not (_HARMLESS_JPEG_WARNING.search(str(err)) and _has_end(file)):
            raise _unreadable(ImageFormat.JPEG, err) from err
        try:
            pixels = _decode_jpeg(file, header, scale, colours, strict=False)
        except Exception as second:
            raise _unreadable(ImageFormat.JPEG, second) from second
    return pixels[:, :, 0] if colours == "GRAY" else pixels


def jpeg_scale(header: ImageHeader, crop: Crop) -> int:
    """How far a JPEG may be scaled down while decoding, without loss of detail in ``crop``.

    Returns:
        1, 2, 4 or 8.
    """
    ratio = min(crop.ratios)
    if min(header.width, header.height) < _MIN_SCALED_SIDE_PX:
        return 1
    return next((scale for scale in _JPEG_SCALES if ratio >= scale), 1)


def _decode_jpeg(
    file: bytes, header: ImageHeader, scale: int, colours: str, *, strict: bool
) -> NDArray[np.uint8]:
    if scale == 1:
        return simplejpeg.decode_jpeg(file, colours, strict=strict)
    height, width = -(-header.height // scale), -(-header.width // scale)
    return simplejpeg.decode_jpeg(file, colours, min_height=height, min_width=width, strict=strict)


def _has_end(jpeg: bytes) -> bool:
    return jpeg.rfind(b"\xff\xd9") > jpeg.rfind(b"\xff\xda")


def decode_other(file: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    """Decode a PNG, WebP or BMP file: its first frame, alpha dropped, 16 bits cut to the upper 8.

    Returns:
        ``[h, w]`` grey or ``[h, w, 3]`` red, green, blue.

    Raises:
        InvalidInput: the file is damaged or incomplete.
    """
    try:
        source = b"".join(header.png_chunks) if header.png_chunks else file
        with _PILLOW_READERS[header.format](io.BytesIO(source)) as image:
            if image.size != (header.width, header.height):
                raise ValueError("two sizes in one file")
            return _to_8_bit(image)
    except Exception as err:
        raise _unreadable(header.format, err) from err


def _to_8_bit(image: Image.Image) -> NDArray[np.uint8]:
    """Copy the pixels band by band, because Pillow makes several copies during a conversion."""
    image.load()
    width, height = image.size
    is_grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
    pixels = np.empty((height, width) if is_grey else (height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = image if rows >= height else image.crop((0, top, width, bottom))
        pixels[top:bottom] = _band_to_8_bit(band, "L" if is_grey else "RGB")
    return pixels


def _band_to_8_bit(image: Image.Image, mode: str) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip it to white
        return (np.asarray(image).clip(0, 0xFFFF) >> 8).astype(np.uint8)
    return np.asarray(image.convert(mode))


def _unreadable(image_format: ImageFormat, err: Exception) -> InvalidInput:
    reason = str(err).lower()
    if any(word in reason for word in ("premature end", "truncated", "unexpected end")):
        return truncated("pixels")
    return InvalidInput(
        f"the {image_format.value} file is damaged and cannot be decoded; save and resend it"
    )
