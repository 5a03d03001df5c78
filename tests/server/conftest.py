from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.artifacts import write_artifact
from tests.support.running import Server, running_server
from tests.support.sequences import ARCHITECTURES, write_frame_artifact, write_sequence_artifact
from tests.support.stubs import Stubs
from tests.support.vision_artifacts import write_detector, write_region_detector, write_segmenter

MAX_MESSAGE_BYTES = 4 << 20
"""Of the server of `vision_stubs`; so raw masks may be half of it."""
MAX_IMAGE_PIXELS = 3_000_000


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves ``tiny`` (versions 1 and 2) and ``slow``; shared by tests that do it no harm."""
    models = tmp_path_factory.mktemp("models")
    write_artifact(models, "tiny", 1)
    write_artifact(models, "tiny", 2, classes=4)
    (models / "tiny" / "labels.json").write_text('{"stable": 1, "canary": 2}')
    write_artifact(models, "slow", 1, slow=True)
    with running_server(models) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="session")
def stubs(server: Server) -> Iterator[Stubs]:
    with grpc.insecure_channel(server.target) as channel:
        yield Stubs(channel)


@pytest.fixture(scope="session")
def sequence_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one small model of each architecture."""
    models = tmp_path_factory.mktemp("sequences")
    for architecture in ARCHITECTURES:
        write_sequence_artifact(models, architecture)
    write_frame_artifact(models)
    return models


@pytest.fixture(scope="session")
def sequence_server(sequence_models: Path) -> Iterator[Server]:
    """Serves them; shared by tests that do it no harm."""
    with running_server(sequence_models) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="session")
def sequence_stubs(sequence_server: Server) -> Iterator[Stubs]:
    with grpc.insecure_channel(sequence_server.target) as channel:
        yield Stubs(channel)


@pytest.fixture(scope="session")
def vision_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the segmenters and detectors of `vision_artifacts`, with tight limits."""
    models = tmp_path_factory.mktemp("vision")
    write_segmenter(models, "levels")
    write_segmenter(models, "stretched", fit="stretch", buckets=[(16, 16)], has_scores=False)
    write_detector(models, "bright")
    write_detector(models, "middle", fit="crop")
    write_region_detector(models, "regions")
    limits = {
        "SIGHTLINE_SERVER__MAX_MESSAGE_BYTES": str(MAX_MESSAGE_BYTES),
        "SIGHTLINE_LIMITS__MAX_IMAGE_PIXELS": str(MAX_IMAGE_PIXELS),
    }
    with running_server(models, environment=limits) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="session")
def vision_stubs(vision_server: Server) -> Iterator[Stubs]:
    with grpc.insecure_channel(vision_server.target) as channel:
        yield Stubs(channel)
