"""What a shipped network says of one image: Pillow, PyTorch, and as few lines as will do.

Nothing in here is the server's, but for the proposals of selective search (an input of the network,
drawn by OpenCV) and the manifest's numbers.
"""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data

from export.pytorch.heads.detection import Detects
from export.train.data.nuclei import read_nuclei
from service.artifact.manifest import Manifest
from service.artifact.sections import DetectionSection
from service.processing.region_proposals import propose_regions
from tests.support.requests import ORIENTATION
from tests.support.shipped import network_of

GREY = 114
"""Of what a picture does not fill."""


# Images

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
SIDES = st.integers(1, 8) | st.integers(9, 700) | st.integers(1500, 3000)
SIZES = st.tuples(SIDES, SIDES)
"""Width and height in px: tiny, usual, huge; and so from very wide to very tall."""


@cache
def photo(name: str) -> Image.Image:
    if name == "nuclei":
        return Image.fromarray(read_nuclei(Path(), "test").pixels)
    return Image.fromarray(getattr(data, name)())


def file_of(
    name: str, size: tuple[int, int], orientation: int = 1, form: str = "PNG", part: float = 1.0
) -> bytes:
    """A part of a photograph, from its upper left corner, resized to width and height."""
    image = photo(name)
    cut = image.crop((0, 0, max(1, int(part * image.width)), max(1, int(part * image.height))))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    cut.resize(size, Image.Resampling.BICUBIC).save(
        file, form, exif=exif, quality=90, compress_level=1
    )
    return file.getvalue()


def files_of_all_kinds(first: str, second: str) -> dict[str, bytes]:
    """Of two photographs."""
    return {
        "landscape": file_of(first, (640, 427)),
        "portrait, turned": file_of(second, (333, 250), orientation=6),
        "portrait": file_of(second, (300, 451), form="JPEG"),
        "tiny": file_of(first, (9, 7)),
        "a pixel": file_of(first, (1, 1)),
        "huge": file_of(second, (3000, 2250), form="JPEG"),
        "odd, wide": file_of(first, (501, 97)),
        "mirrored, turned": file_of(first, (250, 333), orientation=5, form="JPEG"),
    }


# What goes into a network


@dataclass(frozen=True)
class Fitted:
    """An image that was resized, keeping its proportions, and put in the middle of a row."""

    row: NDArray[np.uint8]
    """``[H, W, 3]``."""
    image_size: NDArray[np.float64]
    """Width and height, upright; as all below."""
    inner_size: NDArray[np.float64]
    corner: NDArray[np.float64]

    def normalised(self, manifest: Manifest) -> torch.Tensor:
        assert manifest.preprocessing is not None
        pixels = torch.from_numpy(self.row.astype(np.float32))
        mean, std = manifest.preprocessing.mean, manifest.preprocessing.std
        return ((pixels - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)[None]


def fit(file: bytes, manifest: Manifest) -> Fitted:
    """Into the row that costs least of its size and, of those, is the smallest."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
    preprocessing = manifest.preprocessing
    assert preprocessing is not None
    assert preprocessing.fit in ("pad", "letterbox")
    own = {"height": preprocessing.height, "width": preprocessing.width}

    def scale(row: dict[str, int]) -> float:
        return min(row["width"] / upright.width, row["height"] / upright.height)

    row = min(
        manifest.buckets or (own,),
        key=lambda each: (-min(1, scale(each)), each["width"] * each["height"]),
    )
    factor = min(1, scale(row)) if preprocessing.fit == "pad" else scale(row)
    size = max(1, round(upright.width * factor)), max(1, round(upright.height * factor))
    corner = (row["width"] - size[0]) // 2, (row["height"] - size[1]) // 2
    canvas = Image.new("RGB", (row["width"], row["height"]), (GREY, GREY, GREY))
    canvas.paste(upright.resize(size, Image.Resampling.BILINEAR), corner)
    sizes = (np.array(each, np.float64) for each in (upright.size, size, corner))
    return Fitted(np.array(canvas), *sizes)


# What comes out of it


def mask_of(name: str, file: bytes, manifest: Manifest) -> NDArray[np.intp]:
    """The class of each pixel of the upright image: that of the nearest pixel of the row."""
    fitted = fit(file, manifest)
    with torch.inference_mode():
        logits = network_of(name).module(fitted.normalised(manifest))
    step = fitted.inner_size / fitted.image_size
    columns, rows = (
        (corner + (np.arange(int(size)) + 0.5) * each).astype(int)
        for corner, size, each in zip(fitted.corner, fitted.image_size, step, strict=True)
    )
    return logits[0].argmax(dim=0).numpy()[rows[:, None], columns]


@dataclass(frozen=True)
class Box:
    """In px of the upright image."""

    corners: tuple[float, ...]
    """``x1, y1, x2, y2``."""
    label: int
    score: float

    def iou(self, other: "Box") -> float:
        (x1, y1, x2, y2), (u1, v1, u2, v2) = self.corners, other.corners
        shared = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
        return shared / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared)


def boxes_of(name: str, file: bytes, manifest: Manifest) -> list[Box]:
    """Every candidate above the manifest's threshold that has some area, best first."""
    fitted, section = fit(file, manifest), manifest.detection
    assert section is not None
    inputs = [fitted.normalised(manifest)]
    if section.max_proposals:
        proposals = propose_regions(fitted.row, section.max_proposals, section.proposal_search)
        inputs.append(torch.from_numpy(proposals)[None])
    network = cast(Detects, network_of(name).module)
    with torch.inference_mode():
        boxes, scores = (each[0].double().numpy() for each in network.detect(*inputs))
    step = np.tile(fitted.image_size / fitted.inner_size, 2)
    corners = (boxes - np.tile(fitted.corner, 2)) * step
    corners = corners.clip(0, np.tile(fitted.image_size, 2))
    found = [
        Box(tuple(corners[row].tolist()), int(label), float(scores[row, label]))
        for row, label in zip(*np.nonzero(scores >= section.score_threshold), strict=True)
        if (corners[row, 2:] > corners[row, :2]).all()
    ]
    return sorted(found, key=lambda box: -box.score)


def suppressed(boxes: list[Box], section: DetectionSection) -> list[Box]:
    """What suppression leaves of boxes, best first: its definition."""
    kept: list[Box] = []
    for box in boxes:
        rivals = (better for better in kept if better.label == box.label)
        if all(better.iou(box) <= section.iou_threshold for better in rivals):
            kept.append(box)
    return kept[:100]
