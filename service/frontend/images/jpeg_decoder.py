"""JPEG files to pixels, with libjpeg-turbo.

Every warning of libjpeg-turbo is an error at first: what it warns of is usually a part of the image
that is missing. But cameras, phones and editors write complete images with surplus bytes, with
something appended, or without an end marker. They are taken apart (`jpeg_parts`), put together
without faults and decoded again, so that one harmless warning cannot hide another.
"""

import re

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs] - it has them for a submodule only
from numpy.typing import NDArray

from service import metrics
from service.frontend.images.header import ImageFormat, ImageHeader, truncated, unreadable
from service.frontend.images.jpeg_parts import END, Frame, JpegParts, take_apart
from service.frontend.images.resample import Crop

_SCALES = (8, 4, 2)  # the scales between are slower than full size: they have no vector code
_MIN_SCALED_SIDE_PX = 64  # below, simplejpeg could pick another scale of the same rounded size
_MAX_INTERVALS = 16_384  # that are checked one by one: a row of units each at the largest image
_MAX_SIDE_PX = 65_500  # of libjpeg
_MAX_SURPLUS_BYTES = 16  # before a restart marker, unless they are all the same

_PIXELS_ARE_LOST = re.compile("premature end of data|bad Huffman code|instead of RST")
_SURPLUS_BYTES = re.compile(r"(\d+) extraneous bytes before marker 0x(..)")


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
    if header.has_something_appended:
        parts = take_apart(file)
        if not parts.is_whole:
            raise truncated("pixels")
        file = parts.file()
    try:
        pixels = _decode(file, header, scale, colours)
    except Exception as err:
        if _PIXELS_ARE_LOST.search(str(err)):
            raise unreadable(ImageFormat.JPEG, err) from err
        pixels = _decode_faulty(file, header, scale, colours, err)
        metrics.FAULTY_IMAGES.labels(_fault_of(err)).inc()
    return pixels[:, :, 0] if colours == "GRAY" else pixels


def jpeg_scale(header: ImageHeader, crop: Crop) -> int:
    """How far a JPEG may be scaled down while decoding, without loss of detail in ``crop``.

    Returns:
        1, 2, 4 or 8.
    """
    ratio = min(crop.ratios)
    if min(header.width, header.height) < _MIN_SCALED_SIDE_PX:
        return 1
    return next((scale for scale in _SCALES if ratio >= scale), 1)


def _decode(
    file: bytes, header: ImageHeader, scale: int, colours: str, *, strict: bool = True
) -> NDArray[np.uint8]:
    if scale == 1:
        return simplejpeg.decode_jpeg(file, colours, strict=strict)
    height, width = -(-header.height // scale), -(-header.width // scale)
    return simplejpeg.decode_jpeg(file, colours, min_height=height, min_width=width, strict=strict)


def _fault_of(err: Exception) -> str:
    """The label of the metric."""
    reason = str(err)
    if _SURPLUS_BYTES.search(reason):
        return "surplus_bytes"
    return "scan_parameters" if "SOS parameters" in reason else "no_end"


def _decode_faulty(
    file: bytes, header: ImageHeader, scale: int, colours: str, fault: Exception
) -> NDArray[np.uint8]:
    """Decode a JPEG whose first fault may have left its pixels alone.

    Raises:
        InvalidInput: a part of the pixels is missing.
    """
    parts = take_apart(file)
    if not (parts.frame and parts.is_whole):
        raise truncated("pixels")
    if not parts.has_all_intervals:
        raise unreadable(ImageFormat.JPEG, fault)
    plain = parts.file()
    try:
        return _decode(plain, header, scale, colours)
    except Exception as err:
        surplus = _SURPLUS_BYTES.search(str(err))
        if surplus is None or not _is_complete(parts, parts.frame, colours, surplus[2]):
            raise unreadable(ImageFormat.JPEG, err) from err
    try:
        return _decode(plain, header, scale, colours, strict=False)
    except Exception as err:
        raise unreadable(ImageFormat.JPEG, err) from err


def _is_complete(parts: JpegParts, frame: Frame, colours: str, marker: str) -> bool:
    """Whether surplus bytes before this marker are all that is wrong.

    libjpeg-turbo tells of the first fault only. Before a restart marker others may follow, so each
    interval is decoded as an image of its own. (The scans of a progressive JPEG need each other:
    there, the number of restart markers and their order must be enough.)
    """
    if not marker.startswith("d") or marker > "d7" or parts.scans > 1:
        return True
    if len(parts.intervals) > _MAX_INTERVALS:
        return False
    across, down = frame.units(tuple(frame.samplings))
    last = across * down - parts.restart_interval * (len(parts.intervals) - 1)
    counts = [parts.restart_interval] * (len(parts.intervals) - 1) + [last]
    heads = {count: _head(parts, frame, count, across) for count in set(counts)}
    return all(
        head and _is_complete_interval(head, data, colours)
        for head, data in zip(map(heads.get, counts), parts.intervals, strict=True)
    )


def _head(parts: JpegParts, frame: Frame, count: int, across: int) -> bytes | None:
    columns, rows = (across, count // across) if count % across == 0 else (count, 1)
    if columns * frame.unit[0] > _MAX_SIDE_PX:
        return None
    return parts.single_interval(columns, rows)


def _is_complete_interval(head: bytes, data: bytes, colours: str) -> bool:
    try:
        simplejpeg.decode_jpeg(head + data + END, colours, min_height=1, min_width=1)
    except ValueError as err:
        found = _SURPLUS_BYTES.search(str(err))
        if found is None:
            return False
        # Where bytes of the image are missing, the decoder loses its place and may end early: then
        # what looks like surplus is the image. Padding is short, or one byte again and again.
        surplus = data[-int(found[1]) :]
        return len(surplus) <= _MAX_SURPLUS_BYTES or len(set(surplus)) == 1
    return True
