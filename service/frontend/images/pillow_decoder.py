"""PNG, WebP and BMP files to pixels, with Pillow.

OpenCV is not used: for a truncated image it returns memory of an earlier image (opencv#26488), and
some damaged PNG files crash it (opencv#27744).
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service import metrics
from service.frontend.images.header import ImageFormat, ImageHeader, unreadable

# Opened by class: `Image.open` would detect the format again and apply its own limit.
_PILLOW_READERS = {
    ImageFormat.PNG: PngImageFile,
    ImageFormat.WEBP: WebPImageFile,
    ImageFormat.BMP: BmpImageFile,
}
_BAND_PIXELS = 1 << 20


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
            pixels = _to_8_bit(image)
    except Exception as err:
        raise unreadable(header.format, err) from err
    if header.is_without_end:
        metrics.FAULTY_IMAGES.labels("no_end").inc()
    return pixels


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
