"""What the server answers for an image, held to PyTorch on that image alone: every segmenter."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.artifact.manifest import Task
from sightline.v1 import image_pb2
from tests.support.reference import (
    PHOTOS,
    SIZES,
    file_of,
    files_of_all_kinds,
    mask_of,
)
from tests.support.requests import segment
from tests.support.shipped import asking, exported, manifest_of, shipped
from tests.support.stubs import Stubs

SEGMENTERS = shipped(Task.SEGMENTATION)

pytestmark = pytest.mark.timeout(600)  # whichever comes first exports them all


@pytest.fixture(scope="module")
def repository(pytestconfig: pytest.Config) -> Path:
    assert pytestconfig.cache is not None
    return exported(Task.SEGMENTATION, pytestconfig.cache)


@pytest.fixture(scope="module")
def stubs(repository: Path) -> Iterator[Stubs]:
    with asking(repository) as running:
        yield running


def check_masks(stubs: Stubs, repository: Path, name: str, files: dict[str, bytes]) -> None:
    images = [image_pb2.Image(encoded=file) for file in files.values()]
    answer = stubs.segmentation.Segment(segment(*images, model=name))
    manifest = manifest_of(repository, name)
    for (kind, file), result in zip(files.items(), answer.results, strict=True):
        mask = np.asarray(Image.open(io.BytesIO(result.segmentation.mask)))
        expected = mask_of(name, file, manifest)
        assert mask.shape == expected.shape, kind
        assert (mask == expected).mean() > 0.995, kind


@pytest.mark.parametrize("name", SEGMENTERS)
def test_masks_equal_pytorch(stubs: Stubs, repository: Path, name: str) -> None:
    check_masks(stubs, repository, name, files_of_all_kinds("rocket", "coffee"))


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(SEGMENTERS),
    subject=st.sampled_from(PHOTOS),
    size=SIZES,
    part=st.floats(0.05, 1),
    orientation=st.integers(1, 8),
    form=st.sampled_from(["PNG", "JPEG"]),
)
def test_the_mask_of_any_image_equals_pytorch(
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
    check_masks(stubs, repository, name, shown)
