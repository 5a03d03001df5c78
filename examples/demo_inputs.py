"""The real inputs of the demonstration: all come with installed packages."""

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage.data
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

TRAINING_SHARE = 5 / 8
"""Of the cells' width: nuclei-yolo learned from the left of it."""
LINE = "ROMEO:\nBut, soft! what light through yonder window breaks?\nIt is the east, and"
"""Of Romeo and Juliet, act 2, scene 2."""
_BRIGHTEST_PERCENT = 99.5  # the few brighter pixels of the microscope's camera are cut off


def photograph(name: str) -> bytes:
    """A photograph of scikit-image, as the file an application would send."""
    return _encoded(getattr(skimage.data, name)(), "JPEG")


def thumbnail(name: str, side_px: int) -> bytes:
    """The middle of such a photograph, as small as those of CIFAR-10 are."""
    pixels = getattr(skimage.data, name)()
    return _encoded(np.asarray(ImageOps.fit(Image.fromarray(pixels), (side_px, side_px))), "PNG")


def outdoor_scene() -> bytes:
    """The summer palace in Beijing, of scikit-learn.

    It is no street: no package that ``make setup`` installs ships one.
    """
    return (_package("sklearn") / "datasets" / "images" / "china.jpg").read_bytes()


def cells() -> bytes:
    """Cell nuclei under a fluorescence microscope, of stardist (Weigert and Schmidt, BSD-3)."""
    counts = tifffile.imread(_package("stardist") / "data" / "images" / "img2d.tif")
    return _encoded(np.repeat(_as_grey(counts)[..., None], 3, axis=2), "PNG")


def _as_grey(counts: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return (
        (counts * (255 / np.percentile(counts, _BRIGHTEST_PERCENT))).clip(0, 255).astype(np.uint8)
    )


def _package(name: str) -> Path:
    spec = find_spec(name)  # found, not imported
    if spec is None or spec.origin is None:
        raise SystemExit(f"the demonstration needs the package {name}: run make setup")
    return Path(spec.origin).parent


def _encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=90)
    return buffer.getvalue()
