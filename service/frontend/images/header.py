"""What the header of an image file tells before anything is decoded."""

from dataclasses import dataclass
from enum import Enum

from service.frontend.errors import InvalidInput


class ImageFormat(Enum):
    """The accepted formats."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    BMP = "BMP"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """How an image is stored, before it is turned upright."""

    format: ImageFormat
    width: int
    height: int
    orientation: int = 1  # as EXIF counts: 1 (upright) to 8
    components: int = 3  # JPEG only: 1 grey, 3 colour, 4 CMYK
    has_something_appended: bool = False  # JPEG only: the decoder must not see it
    is_without_end: bool = False  # PNG only: the end was added to its chunks
    png_chunks: tuple[memoryview, ...] = ()  # PNG only: the chunks that the pixels need

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in px, after the image is turned upright."""
        is_turned = self.orientation >= 5
        return (self.height, self.width) if is_turned else (self.width, self.height)


def truncated(what: str) -> InvalidInput:
    """The error for a file without its end."""
    return InvalidInput(f"the image file is cut off in its {what}; send the whole file")


def unreadable(image_format: ImageFormat, err: Exception) -> InvalidInput:
    """The error for a file whose decoder failed with ``err``."""
    reason = str(err).lower()
    if any(word in reason for word in ("premature end", "truncated", "unexpected end")):
        return truncated("pixels")
    return InvalidInput(
        f"the {image_format.value} file is damaged and cannot be decoded; save and resend it"
    )
