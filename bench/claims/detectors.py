"""The claim on detectors: each generation was made to be faster than the one before."""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import skimage.data
from numpy.typing import NDArray
from PIL import Image

from bench.claims.claim import Claim, draw_bars
from export.description import shipped_models
from export.errors import WeightsError
from export.network import ArtifactWishes
from export.parity import open_session, run_session
from export.preprocess import preprocess_image
from export.resolve import Source, export_source
from service.manifest import Manifest, read_manifest
from service.region_proposals import propose_regions

GENERATIONS = {
    "R-CNN": "bccd-rcnn",
    "SPPNet": "bccd-sppnet",
    "Fast R-CNN": "bccd-fast-rcnn",
    "Faster R-CNN": "bccd-faster-rcnn",
    "YOLO": "bccd-yolo",
}
REPEATS = 5


def seconds_of(artifact_dir: Path) -> tuple[float, float]:
    """Median seconds for one image: region proposals (0 without), and the network."""
    manifest, _ = read_manifest(artifact_dir)
    session = open_session(artifact_dir / "model.onnx")
    proposing: list[float] = []
    running: list[float] = []
    for _ in range(REPEATS + 1):  # the first one warms up
        started = time.perf_counter()
        inputs = inputs_of(manifest)
        proposed = time.perf_counter()
        run_session(session, inputs)
        proposing.append(proposed - started)
        running.append(time.perf_counter() - proposed)
    return median(proposing[1:]), median(running[1:])


def inputs_of(manifest: Manifest) -> list[NDArray[Any]]:
    """One photograph, and the regions to look at where the network wants them."""
    assert manifest.preprocessing is not None
    assert manifest.detection is not None
    image = preprocess_image(Image.fromarray(skimage.data.coffee()), manifest.preprocessing)
    if not manifest.detection.max_proposals:
        return [image[None]]
    detection = manifest.detection
    proposals = propose_regions(image, detection.max_proposals, detection.proposal_search)
    return [image[None], proposals[None]]


def order_of_speed(pictures: Path) -> Claim:
    """One image through each generation, with ONNX Runtime.

    Raises:
        WeightsError: one of them does not ship.
    """
    if missing := [name for name in GENERATIONS.values() if name not in shipped_models()]:
        raise WeightsError(f"{', '.join(missing)} do not ship yet; train them")
    seconds: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, name in GENERATIONS.items():
            artifact = export_source(Source(name), ArtifactWishes(name), Path(folder))
            seconds[title] = seconds_of(artifact)
    totals = {title: sum(parts) for title, parts in seconds.items()}
    order = sorted(totals, key=totals.__getitem__, reverse=True)
    in_words = " < ".join(order)
    return Claim(
        "detectors",
        "In speed R-CNN < SPPNet < Fast R-CNN < Faster R-CNN < YOLO",
        f"One photograph, region proposals included, with ONNX Runtime on the CPU: {in_words}."
        f" From the first to the last {totals['R-CNN'] / totals['YOLO']:.0f} times faster.",
        order == list(GENERATIONS),
        ("network", "proposals, ms", "network, ms", "together, ms"),
        [
            (title, f"{1e3 * before:.1f}", f"{1e3 * run:.1f}", f"{1e3 * (before + run):.1f}")
            for title, (before, run) in seconds.items()
        ],
        draw_bars(
            pictures / "detectors.png",
            list(totals),
            [1e3 * total for total in totals.values()],
            title="One photograph",
            x_label="milliseconds",
        ),
    )
