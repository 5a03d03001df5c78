"""A user's image -> an ``Image`` message."""

import errno
import os
import struct
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.errors import MessageTooLarge
from sightline.v1 import image_pb2


class SupportsArrayInterface(Protocol):
    """What numpy arrays and Pillow images have in common."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The array's shape, type and memory."""
        ...


ImageLike: TypeAlias = (
    bytes | bytearray | memoryview | str | os.PathLike[str] | SupportsArrayInterface
)
"""The bytes of an image file, the path of one, a uint8 array (``[H, W, 3]`` RGB, ``[H, W]`` or
``[H, W, 1]``), or a Pillow image."""

_MAX_SIDE_PX = 65_535
_MAX_SHOWN_PATH = 200
_EXIF_ORIENTATION = 0x0112
# Pillow's 8-bit modes that are neither grey nor RGB, and can be converted to RGB.
_MODES_TO_CONVERT = frozenset({"1", "P", "PA", "LA", "La", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})


def image_from(image: ImageLike, *, max_bytes: int) -> image_pb2.Image:
    """The message for one image.

    Raises:
        FileNotFoundError: no file has that path.
        TypeError: it is nothing that could be an image.
        ValueError: it is empty, or an array of another type or shape; the text says what to do.
        MessageTooLarge: it is larger than ``max_bytes``.
    """
    match image:
        case bytes() | bytearray() | memoryview():
            return _encoded(bytes(image), max_bytes)
        case str() | os.PathLike():
            return _encoded(_read_file(image, max_bytes), max_bytes)
        case _ if hasattr(image, "__array_interface__") or hasattr(image, "__array__"):
            return _pixels(_as_array(image), max_bytes)
        case _:
            raise TypeError(
                "an image is a path, the bytes of an image file, a uint8 array or a Pillow image,"
                f" not {type(image).__name__}"
            )


def _encoded(content: bytes, max_bytes: int) -> image_pb2.Image:
    if not content:
        raise ValueError("the image has 0 bytes: pass the content of an image file")
    check_size(len(content), max_bytes)
    return image_pb2.Image(encoded=content)


def _read_file(name: str | os.PathLike[str], max_bytes: int) -> bytes:
    path = Path(name)
    try:
        check_size(path.stat().st_size, max_bytes)  # before a huge file is in memory
        content = path.read_bytes()
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise
        hint = "there is no such file"
        if isinstance(name, str):
            hint += " (a str is read as a path; for an image in memory pass its bytes)"
        shown = os.fspath(name)
        if len(shown) > _MAX_SHOWN_PATH:
            shown = f"{shown[:_MAX_SHOWN_PATH]}..."
        raise FileNotFoundError(errno.ENOENT, hint, shown) from None
    if not content:
        raise ValueError(f"{path} has 0 bytes")
    return content


def check_size(size: int, max_bytes: int) -> None:
    """Refuse an image that does not fit into a message.

    Raises:
        MessageTooLarge: ``size`` is over ``max_bytes``.
    """
    if size > max_bytes:
        raise MessageTooLarge(
            f"the image has {size:,} bytes, and {max_bytes:,} fit into one message: raise"
            " Client(max_message_bytes=...) and the server's SIGHTLINE_SERVER__MAX_MESSAGE_BYTES,"
            " or send an encoded file instead of pixels"
        )


def _as_array(image: Any) -> NDArray[Any]:
    mode = getattr(image, "mode", None)
    if not (isinstance(mode, str) and hasattr(image, "getexif")):
        return np.asarray(image)
    if mode in _MODES_TO_CONVERT:
        pixels = np.asarray(image.convert("RGB"))
    elif mode in ("L", "RGB"):
        pixels = np.asarray(image)
    elif mode.startswith("I;16") or (mode == "I" and getattr(image, "format", None) == "PNG"):
        # 16-bit grey of a file: its upper 8 bits, as the server takes from the file itself.
        pixels = (np.asarray(image).clip(0, 0xFFFF) >> 8).astype(np.uint8)
    else:
        raise ValueError(f"a Pillow image of mode {mode}: convert it to 'L' or 'RGB' first")
    return upright(pixels, _orientation_of(image))


def _orientation_of(image: Any) -> int:
    """The orientation of a Pillow image; 1 if its metadata is damaged, as the server assumes."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (SyntaxError, struct.error, TypeError, ValueError, OSError):
        return 1  # Pillow fails in these ways, depending on where the metadata is damaged
    return next((number for number in range(2, 9) if number == value), 1)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn ``[H, W, ...]`` as its EXIF orientation (1 to 8) says, as the server does for files."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _pixels(array: NDArray[Any], max_bytes: int) -> image_pb2.Image:
    _check_array(array)
    check_size(array.nbytes, max_bytes)
    return image_pb2.Image(
        pixels=image_pb2.Pixels(
            data=array.tobytes(),  # [H, W, C], row by row whatever the strides
            height=array.shape[0],
            width=array.shape[1],
            channels=array.shape[2] if array.ndim == 3 else 1,
        )
    )


def _check_array(array: NDArray[Any]) -> None:
    if array.dtype != np.uint8:
        advice = "convert it to uint8"
        if array.dtype.kind == "f":
            advice = "for values in 0..1 pass (255 * image).round().astype(np.uint8)"
        raise ValueError(f"the array has type {array.dtype}, and pixels are uint8: {advice}")
    match array.shape:
        case (height, width) | (height, width, 1 | 3):
            if not (1 <= height <= _MAX_SIDE_PX and 1 <= width <= _MAX_SIDE_PX):
                raise ValueError(f"each side is 1 to {_MAX_SIDE_PX} pixels, not {height} x {width}")
        case (_, _, 4):
            raise ValueError("the array has 4 channels: drop the alpha with image[..., :3]")
        case (1 | 3, _, _):
            raise ValueError("the channels come last: pass image.transpose(1, 2, 0)")
        case (_, _, _, _):
            raise ValueError("one array is one image: for several use classify_many")
        case shape:
            raise ValueError(f"pixels are [H, W, 3] RGB or [H, W] grey, not {list(shape)}")
