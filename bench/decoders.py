"""Image decoders beside each other: ``python -m bench.decoders``.

Every candidate turns the same JPEG into the same row of 224 x 224 RGB pixels (the centre 7/8, as
for ImageNet). The candidates alternate, round by round, on one core, so that the ratios hold on a
busy machine.
"""

import io
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import simplejpeg
from cv2.typing import MatLike
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.photos import photo_12mp, photo_500x375
from export.artifact.preprocess import preprocess_image
from service.artifact.manifest import ImagePreprocessing
from service.frontend.images.decode import ImageLimits, decode_image
from service.processing.placement import place
from sightline.v1 import image_pb2

NETWORK = ImagePreprocessing(height=224, width=224, crop_share=0.875)
LIMITS = ImageLimits(
    max_image_bytes=32 << 20, max_image_pixels=64_000_000, max_image_side_px=16_384
)
SIZE = (NETWORK.width, NETWORK.height)
SLOT = np.empty((*SIZE, 3), np.uint8)  # the server has one in shared memory
REFERENCE = "Pillow, as in training"
# As the server sets its frontends: freed memory is kept, so that its pages need no faults.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(256 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}

Row = MatLike
Decoder = Callable[[bytes], Row]


@dataclass(frozen=True)
class Measured:
    """One candidate on one photograph."""

    name: str
    best_ms: float
    median_ms: float
    mean_error: float  # in levels of 0..255, against training
    p99_error: float


def pillow_draft(jpeg: bytes) -> Row:
    """Pillow, which lets libjpeg scale down as far as the network allows."""
    image = Image.open(io.BytesIO(jpeg))
    side = min(image.size) * NETWORK.crop_share / NETWORK.width
    image.draft("RGB", (int(image.width / side), int(image.height / side)))
    box = place(image.width, image.height, NETWORK).source
    return np.asarray(image.resize(SIZE, Image.Resampling.BILINEAR, box))


def opencv(jpeg: bytes, scale: int, interpolation: int) -> Row:
    """OpenCV for both steps."""
    flags = {1: 0, 2: cv2.IMREAD_REDUCED_COLOR_2, 8: cv2.IMREAD_REDUCED_COLOR_8}[scale]
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags or cv2.IMREAD_COLOR)
    assert bgr is not None
    return cv2.cvtColor(resize_part(bgr, interpolation), cv2.COLOR_BGR2RGB)


def turbo(jpeg: bytes, scale: int, resize: Callable[[Row], Row], *, is_fast: bool = False) -> Row:
    """libjpeg-turbo through simplejpeg, then ``resize``."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    smallest: dict[str, Any] = {}
    if scale > 1:
        smallest["min_height"] = -(-int(height) // scale)
        smallest["min_width"] = -(-int(width) // scale)
    pixels = simplejpeg.decode_jpeg(jpeg, fastdct=is_fast, fastupsample=is_fast, **smallest)
    return resize(pixels)


def resize_part(pixels: Row, interpolation: int) -> Row:
    """Cut to whole pixels, then OpenCV's resize."""
    height, width = pixels.shape[:2]
    edges = place(width, height, NETWORK).source
    left, top, right, bottom = (round(edge) for edge in edges)
    return cv2.resize(pixels[top:bottom, left:right], SIZE, interpolation=interpolation)


def resize_pillow(pixels: Row) -> Row:
    """Pillow's resize, as in training."""
    box = place(pixels.shape[1], pixels.shape[0], NETWORK).source
    return np.asarray(Image.fromarray(pixels).resize(SIZE, Image.Resampling.BILINEAR, box))


def sightline(jpeg: bytes) -> Row:
    """As the server decodes."""
    decode_image(image_pb2.Image(encoded=jpeg), NETWORK, SLOT, LIMITS)
    return SLOT


def candidates(scale: int) -> dict[str, Decoder]:
    """All ways from a JPEG to a row; libjpeg may scale down by ``scale``."""
    linear = partial(resize_part, interpolation=cv2.INTER_LINEAR)
    area = partial(resize_part, interpolation=cv2.INTER_AREA)
    found: dict[str, Decoder] = {
        REFERENCE: lambda jpeg: preprocess_image(jpeg, NETWORK),
        "Pillow, draft": pillow_draft,
        "OpenCV, INTER_AREA": partial(opencv, scale=1, interpolation=cv2.INTER_AREA),
        "OpenCV, INTER_LINEAR": partial(opencv, scale=1, interpolation=cv2.INTER_LINEAR),
        "turbo + Pillow": partial(turbo, scale=1, resize=resize_pillow),
        "turbo + INTER_AREA": partial(turbo, scale=1, resize=area),
        "turbo + INTER_LINEAR": partial(turbo, scale=1, resize=linear),
        "turbo, fast DCT + INTER_LINEAR": partial(turbo, scale=1, resize=linear, is_fast=True),
    }
    if scale > 1:
        reduced = partial(opencv, scale=scale, interpolation=cv2.INTER_LINEAR)
        found[f"OpenCV 1/{scale}, INTER_LINEAR"] = reduced
        found[f"turbo 1/{scale} + Pillow"] = partial(turbo, scale=scale, resize=resize_pillow)
        found[f"turbo 1/{scale} + INTER_AREA"] = partial(turbo, scale=scale, resize=area)
    return found | {"Sightline": sightline}


def measure(jpeg: bytes, decoders: dict[str, Decoder], rounds: int) -> list[Measured]:
    """Run the candidates alternately; the first round warms up.

    The order changes, so that no candidate always runs after the same other one.
    """
    times_ms: dict[str, list[float]] = {name: [] for name in decoders}
    order, shuffler = list(decoders), random.Random(0)
    for _ in range(rounds + 1):
        shuffler.shuffle(order)
        for name in order:
            decode = decoders[name]
            started = time.perf_counter()
            decode(jpeg)
            times_ms[name].append((time.perf_counter() - started) * 1e3)
    reference = decoders[REFERENCE](jpeg).astype(int)
    measured: list[Measured] = []
    for name, decode in decoders.items():
        error, taken = np.abs(decode(jpeg) - reference), times_ms[name][1:]
        p99 = float(np.percentile(error, 99))
        measured.append(
            Measured(name, min(taken), float(np.median(taken)), float(error.mean()), p99)
        )
    return measured


def print_table(title: str, measured: list[Measured]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("candidate")
    for column in ("best, ms", "median, ms", "x Pillow", "mean error", "99 %"):
        table.add_column(column, justify="right")
    (reference,) = (one for one in measured if one.name == REFERENCE)
    for one in sorted(measured, key=lambda one: one.median_ms, reverse=True):
        table.add_row(
            one.name,
            f"{one.best_ms:.2f}",
            f"{one.median_ms:.2f}",
            f"{reference.median_ms / one.median_ms:.1f}",
            f"{one.mean_error:.2f}",
            f"{one.p99_error:.0f}",
        )
    Console(width=100).print(table)


def main() -> None:
    """Measure on one core; with ``--keep-memory`` the allocator is set as the server sets it."""
    if "--keep-memory" in sys.argv and not ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, sys.orig_argv, os.environ | ALLOCATOR)  # read at start only
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    small, large = photo_500x375(), photo_12mp()
    print_table(f"500 x 375, {len(small):,} bytes", measure(small, candidates(1), 200))
    print_table(f"4000 x 3000, {len(large):,} bytes", measure(large, candidates(8), 15))
    print("Errors are in levels of 0..255 against Pillow's result; x Pillow is of the medians.")


if __name__ == "__main__":
    main()
