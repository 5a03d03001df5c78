"""Selective search's proposals for a data set. They take minutes, so a file keeps them."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from export.artifact.preprocess import preprocess_image
from export.train.data.boxed import BoxedImage
from service.artifact.manifest import ImagePreprocessing
from service.artifact.sections import DetectionSection
from service.processing.region_proposals import propose_regions

Proposals = list[NDArray[np.float32]]
"""For each image ``[R, 4]`` in px of the network's input, unused rows zero."""


def find_proposals(
    images: Sequence[BoxedImage],
    preprocessing: ImagePreprocessing,
    section: DetectionSection,
    folder: Path,
) -> Proposals:
    """The server's proposals for each of the images.

    Args:
        images: of any size.
        preprocessing: the network's.
        section: has the number of proposals and the kind of search.
        folder: for the file. Files of other images or another search are not touched.
    """
    rows = [preprocess_image(Image.fromarray(image.pixels), preprocessing) for image in images]
    path = folder / f"proposals-{fingerprint(rows, section)}.npy"
    if path.exists():
        return list(np.load(path, allow_pickle=False))
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV releases the GIL
        proposing = pool.map(partial(propose, section=section), rows)
        found = list(track(proposing, "selective search", len(rows), transient=True))
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    with unfinished.open("wb") as file:
        np.save(file, np.stack(found))
    unfinished.replace(path)
    return found


def propose(row: NDArray[np.uint8], section: DetectionSection) -> NDArray[np.float32]:
    """The proposals ``[R, 4]`` for one preprocessed image."""
    return propose_regions(row, section.max_proposals, section.proposal_search)


def fingerprint(rows: Sequence[NDArray[np.uint8]], section: DetectionSection) -> str:
    """A key that changes with everything that the proposals depend on."""
    digest = hashlib.sha256(
        section.model_dump_json(include={"max_proposals", "proposal_search"}).encode()
    )
    for row in rows:
        digest.update(row.tobytes())
    return digest.hexdigest()[:16]
