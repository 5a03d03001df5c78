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
    png_chunks: tuple[memoryview, ...] = ()  # PNG only: the chunks that the pixels need

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in px, after the image is turned upright."""
        is_turned = self.orientation >= 5
        return (self.height, self.width) if is_turned else (self.width, self.height)


def truncated(what: str) -> InvalidInput:
    """The error for a file without its end."""
    return InvalidInput(f"the image file is cut off in its {what}; send the whole file")
