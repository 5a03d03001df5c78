"""What the server answers for an image, held to PyTorch on that image alone: every detector."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.artifact.manifest import Task
from sightline.v1 import detection_pb2, image_pb2
from tests.support.reference import (
    PHOTOS,
    SIZES,
    Box,
    boxes_of,
    file_of,
    files_of_all_kinds,
    suppressed,
)
from tests.support.requests import detect
from tests.support.shipped import asking, exported, manifest_of, shipped
from tests.support.stubs import Stubs

DETECTORS = shipped(Task.DETECTION)
TAKES_SECONDS = ["bccd-fast-rcnn", "bccd-rcnn", "bccd-sppnet"]
"""For an image: a search for regions here and there, and for R-CNN a run for each region."""

pytestmark = pytest.mark.timeout(600)  # whichever comes first exports them all


@pytest.fixture(scope="module")
def repository(pytestconfig: pytest.Config) -> Path:
    assert pytestconfig.cache is not None
    return exported(Task.DETECTION, pytestconfig.cache)


@pytest.fixture(scope="module")
def stubs(repository: Path) -> Iterator[Stubs]:
    with asking(repository) as running:
        yield running


def check_boxes(stubs: Stubs, repository: Path, name: str, files: dict[str, bytes]) -> int:
    """How many there were."""
    images = [image_pb2.Image(encoded=file) for file in files.values()]
    answer = stubs.detection.Detect(detect(*images, model=name))
    manifest = manifest_of(repository, name)
    assert manifest.detection is not None
    count = 0
    for (kind, file), result in zip(files.items(), answer.results, strict=True):
        expected = suppressed(boxes_of(name, file, manifest), manifest.detection)
        found = [box_of(each) for each in result.detections.detections]
        assert len(found) == len(expected), kind
        for box in expected:
            twin = max((each for each in found if each.label == box.label), key=box.iou)
            assert twin.iou(box) > 0.99, (kind, box, twin)
            assert twin.score == pytest.approx(box.score, abs=5e-3), (kind, box, twin)
        count += len(found)
    return count


def box_of(answer: detection_pb2.Detection) -> Box:
    its = answer.box
    return Box((its.x1, its.y1, its.x2, its.y2), answer.index, answer.score)


@pytest.mark.parametrize("name", DETECTORS)
def test_boxes_equal_pytorch(stubs: Stubs, repository: Path, name: str) -> None:
    files = files_of_all_kinds("nuclei", "astronaut")
    if name in TAKES_SECONDS:
        files = {kind: files[kind] for kind in ("landscape", "portrait, turned")}
    assert check_boxes(stubs, repository, name, files) > 0


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from([name for name in DETECTORS if name not in TAKES_SECONDS]),
    subject=st.sampled_from([*PHOTOS, "nuclei"]),
    size=SIZES,
    part=st.floats(0.05, 1),
    orientation=st.integers(1, 8),
    form=st.sampled_from(["PNG", "JPEG"]),
)
def test_the_boxes_of_any_image_equal_pytorch(
    stubs: Stubs,
    repository: Path,
    name: str,
    subject: str,
    size: tuple[int, int],
    part: float,
    orientation: int,
    form: str,
) -> None:
    shown = {"drawn": file_of(subject, size, orientation, form, part)}
    check_boxes(stubs, repository, name, shown)
