"""Nuclei: one fluorescence photograph, 512x512 px, with a mask for each of 125 cell nuclei.

It comes inside the Python package ``stardist`` (Weigert and Schmidt, BSD-3). Only two of its files
are used, so neither the package nor its dependencies must be importable. The left five eighths of
the photograph are for training, the rest for the test.
"""

import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.measure import regionprops

from export.errors import DataError
from export.train.data.boxed import BoxedImage

IMAGE_FILE, MASK_FILE = "img2d.tif", "mask2d.tif"
NUCLEI_LABELS = ("nucleus",)
FOLDER_IN_PACKAGE = "stardist/data/images"
WHERE_TO_GET_THEM = (
    f"{IMAGE_FILE} and {MASK_FILE} come with the package stardist: run `pip download --no-deps"
    " stardist==0.9.2` in the folder that --data names, or `pip install --no-deps stardist==0.9.2`"
)

TRAINING_SHARE = 5 / 8
MIN_SIDE_PX = 6
"""Smaller boxes at the edges are dropped, because such nuclei cannot be recognised."""
WHITE_LEVEL = 160
"""Camera counts that become white; a few dividing nuclei have up to 235."""

Side = Literal["train", "test"]


def read_nuclei(data_dir: Path, side: Side) -> BoxedImage:
    """The left or the right part of the photograph, as RGB, with a box around each nucleus.

    A nucleus on the border between the parts is cut, as at the edge of an image. Each part has the
    box of the visible rest.

    Raises:
        DataError: the files are missing or hold something else.
    """
    counts, mask = find_files(data_dir)
    border = round(counts.shape[1] * TRAINING_SHARE)
    part = slice(0, border) if side == "train" else slice(border, None)
    boxes = boxes_of(mask[:, part])
    return BoxedImage(
        name=f"{IMAGE_FILE}, {side}",
        pixels=to_rgb(counts[:, part]),
        boxes=boxes,
        targets=np.zeros(len(boxes), np.int64),
    )


def find_files(data_dir: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """The photograph and the mask, both ``[512, 512]``.

    They are searched in ``data_dir``, in a wheel of stardist there, and in the installed package.
    """
    for read in (_from_folder, _from_wheel, _from_package):
        if (found := read(data_dir)) is not None:
            counts, mask = found
            if counts.shape != mask.shape or counts.ndim != 2 or not mask.any():
                raise DataError(
                    f"{IMAGE_FILE} is {counts.shape} and {MASK_FILE} {mask.shape}, not a grey image"
                    f" and its mask; {WHERE_TO_GET_THEM}"
                )
            return counts, mask
    raise DataError(f"{data_dir} has no {IMAGE_FILE}; {WHERE_TO_GET_THEM}")


def _from_folder(folder: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16]] | None:
    if not (folder / IMAGE_FILE).exists():
        return None
    try:
        return tifffile.imread(folder / IMAGE_FILE), tifffile.imread(folder / MASK_FILE)
    except (OSError, tifffile.TiffFileError) as err:
        raise DataError(f"cannot read {err}; {WHERE_TO_GET_THEM}") from err


def _from_wheel(data_dir: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16]] | None:
    for wheel in sorted(data_dir.glob("stardist-*.whl")):
        try:
            with zipfile.ZipFile(wheel) as archive:
                names = (f"{FOLDER_IN_PACKAGE}/{file}" for file in (IMAGE_FILE, MASK_FILE))
                image, mask = (tifffile.imread(io.BytesIO(archive.read(name))) for name in names)
                return image, mask
        except (OSError, KeyError, zipfile.BadZipFile, tifffile.TiffFileError) as err:
            raise DataError(f"cannot read {wheel} ({err}); {WHERE_TO_GET_THEM}") from err
    return None


def _from_package(_: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16]] | None:
    package = importlib.util.find_spec("stardist")  # find the package without importing it
    if package is None or package.origin is None:
        return None
    return _from_folder(Path(package.origin).parent / "data" / "images")


def boxes_of(mask: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The boxes ``[M, 4]`` of a mask's instances, without slivers under ``MIN_SIDE_PX``."""
    edges = np.array([region.bbox for region in regionprops(mask)], np.float32).reshape(-1, 4)
    boxes = edges[:, [1, 0, 3, 2]]  # rows first there
    return boxes[((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE_PX).all(axis=1)]


def to_rgb(counts: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Camera counts ``[H, W]`` -> grey ``[H, W, 3]``."""
    grey = (counts.astype(np.float32) * (255 / WHITE_LEVEL)).clip(0, 255).astype(np.uint8)
    return grey[:, :, None].repeat(3, axis=2)
