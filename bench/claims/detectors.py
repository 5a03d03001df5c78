"""The claim on detectors: the detectors after R-CNN are faster than R-CNN."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

import skimage.data
from numpy.typing import NDArray
from PIL import Image

from bench.claims.claim import Claim, Row, draw_bars
from export.artifact.parity import open_session, run_session
from export.artifact.preprocess import preprocess_image
from export.errors import ExportError, WeightsError
from export.pytorch.description import shipped_models
from export.pytorch.network import ArtifactOptions
from export.pytorch.resolve import NetworkSource, export_source
from service.artifact.manifest import ImagePreprocessing, read_manifest
from service.artifact.sections import ProposalSearch
from service.processing.region_proposals import propose_regions

GENERATIONS = {
    "R-CNN": "bccd-rcnn",
    "SPPNet": "bccd-sppnet",
    "Fast R-CNN": "bccd-fast-rcnn",
    "Faster R-CNN": "bccd-faster-rcnn",
    "YOLO": "bccd-yolo",
}
ROUNDS = 20
MIN_SHARE = 0.9
"""Share of the rounds in which one must be faster, before a difference is reported."""

Array = NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Detector:
    """A network that can be run, and the inputs that it takes."""

    preprocessing: ImagePreprocessing
    search: tuple[int, ProposalSearch] | None
    """How many regions are proposed to it, and how; None if it finds its own."""
    run: Callable[[list[Array]], object]
    """From the image ``[1, H, W, 3]`` and, with a search, the proposals ``[1, P, 4]``."""


@dataclass(frozen=True)
class Rounds:
    """Seconds, one figure for each round; shared work is timed once a round."""

    image: Sequence[float]
    """From the photograph to a row, which all detectors share."""
    proposals: Sequence[float]
    """Selective search, which several detectors share."""
    networks: Mapping[str, Sequence[float]]
    proposed_for: frozenset[str]

    def together(self, title: str) -> list[float]:
        """One detector's whole way, round by round."""
        searches = self.proposals if title in self.proposed_for else [0.0] * len(self.image)
        parts = zip(self.image, searches, self.networks[title], strict=True)
        return [sum(each) for each in parts]

    def compare(self, earlier: str, later: str) -> str:
        """``<`` if the later one is faster, ``>`` if it is slower, ``=`` if no difference shows.

        It compares round by round: shared work has the same figure on both sides, so its noise
        does not matter.
        """
        pairs = list(zip(self.together(earlier), self.together(later), strict=True))
        least = MIN_SHARE * len(pairs)
        if sum(after < before for before, after in pairs) >= least:
            return "<"
        return ">" if sum(after > before for before, after in pairs) >= least else "="


def open_detector(artifact_dir: Path) -> Detector:
    """An artifact, with ONNX Runtime on the CPU."""
    manifest, _ = read_manifest(artifact_dir)
    assert manifest.preprocessing is not None
    detection = manifest.detection
    assert detection is not None
    search = (detection.max_proposals, detection.proposal_search)
    session = open_session(artifact_dir / "model.onnx")
    wanted = search if detection.max_proposals else None
    return Detector(manifest.preprocessing, wanted, partial(run_session, session))


def time_rounds(detectors: dict[str, Detector], photo: Image.Image, rounds: int) -> Rounds:
    """Time every part once a round, one after the other, so that a slow moment slows all.

    Raises:
        ExportError: the detectors do not take the same row or the same regions.
    """
    preprocessing = _common([each.preprocessing for each in detectors.values()], "image")
    searches = {title: each.search for title, each in detectors.items() if each.search}
    search = _common(list(searches.values()), "proposals")
    image_s: list[float] = []
    proposals_s: list[float] = []
    networks_s: dict[str, list[float]] = {title: [] for title in detectors}
    for _ in range(rounds + 1):  # the first one warms up
        row = _timed(partial(preprocess_image, photo, preprocessing), image_s)
        proposals = _timed(partial(propose_regions, row, *search), proposals_s)
        for title, detector in detectors.items():
            inputs: list[Array] = [row[None]] + ([proposals[None]] if detector.search else [])
            _timed(partial(detector.run, inputs), networks_s[title])
    networks = {title: seconds[1:] for title, seconds in networks_s.items()}
    return Rounds(image_s[1:], proposals_s[1:], networks, frozenset(searches))


def order_of_speed(pictures: Path) -> Claim:
    """One image through each generation, with ONNX Runtime.

    Raises:
        ExportError: one of them does not ship, or they cannot be compared.
    """
    if missing := [name for name in GENERATIONS.values() if name not in shipped_models()]:
        raise WeightsError(f"{', '.join(missing)} do not ship yet; train them")
    with tempfile.TemporaryDirectory() as folder:
        detectors = {
            title: open_detector(
                export_source(NetworkSource(name), ArtifactOptions(name), Path(folder))
            )
            for title, name in GENERATIONS.items()
        }
        timed = time_rounds(detectors, Image.fromarray(skimage.data.coffee()), ROUNDS)
    return as_claim(timed, pictures)


def as_claim(timed: Rounds, pictures: Path) -> Claim:
    """The verdict on the seed document's claim: the four are faster than R-CNN."""
    first, *others = timed.networks
    seconds = {title: median(timed.together(title)) for title in timed.networks}
    times = ", ".join(f"{title} {seconds[first] / seconds[title]:.1f}" for title in others)
    return Claim(
        "detectors",
        f"{_listed(others)} are faster than {first}",
        f"One photograph, with ONNX Runtime on the CPU. Speed as a multiple of {first}'s: {times}."
        f" {_order_in_words(timed)} Figures are medians of {len(timed.image)} rounds, with the"
        " middle half of them in brackets. In each round the image becomes a row once, in"
        f" {_spread(timed.image)} ms. Selective search, which"
        f" {_listed([title for title in timed.networks if title in timed.proposed_for])} share,"
        f" runs once, in {_spread(timed.proposals)} ms.",
        all(timed.compare(first, title) == "<" for title in others),
        ("network", "image, ms", "proposals, ms", "network, ms", "together, ms"),
        [_row(timed, title) for title in timed.networks],
        draw_bars(
            pictures / "detectors.png",
            list(seconds),
            [1e3 * each for each in seconds.values()],
            title="One photograph",
            x_label="milliseconds",
        ),
    )


def _order_in_words(timed: Rounds) -> str:
    """Each generation compared with the one before it."""
    signs = {pair: timed.compare(*pair) for pair in pairwise(timed.networks)}
    chain = next(iter(timed.networks)) + "".join(
        f" {sign} {later}" for (_, later), sign in signs.items()
    )
    sentences = [
        f"The seed document says no more. Speed compared with the detector before it: {chain}."
    ]
    sentences += [
        f"Between {earlier} and {later} there is no difference that can be measured: neither is"
        f" faster in {MIN_SHARE:.0%} of the rounds."
        for (earlier, later), sign in signs.items()
        if sign == "="
    ]
    return " ".join(sentences)


def _listed(titles: Sequence[str]) -> str:
    return f"{', '.join(titles[:-1])} and {titles[-1]}"


def _row(timed: Rounds, title: str) -> Row:
    proposals = "0"
    if title in timed.proposed_for:
        proposals = f"{1e3 * median(timed.proposals):.1f}"
    return (
        title,
        f"{1e3 * median(timed.image):.1f}",
        proposals,
        _spread(timed.networks[title]),
        f"{1e3 * median(timed.together(title)):.1f}",
    )


def _spread(seconds: Sequence[float]) -> str:
    """Median and quartiles in ms."""
    low, middle, high = (1e3 * each for each in quantiles(seconds, n=4, method="inclusive"))
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def _common(wishes: Sequence[T], what: str) -> T:
    if any(wish != wishes[0] for wish in wishes):
        raise ExportError(f"the detectors do not want the same {what}: nothing to share")
    return wishes[0]


def _timed(work: Callable[[], T], seconds: list[float]) -> T:
    started = time.perf_counter()
    result = work()
    seconds.append(time.perf_counter() - started)
    return result
