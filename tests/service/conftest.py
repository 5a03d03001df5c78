from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from sightline.v1 import classification_pb2_grpc, models_pb2_grpc, sequence_pb2_grpc
from tests.artifacts import write_artifact
from tests.running import Server, running_server
from tests.sequences import ARCHITECTURES, write_frame_artifact, write_sequence_artifact


class Stubs:
    """A channel to a server, and its services."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.classification = classification_pb2_grpc.ClassificationServiceStub(channel)
        self.models = models_pb2_grpc.ModelServiceStub(channel)
        self.sequences = sequence_pb2_grpc.SequenceServiceStub(channel)


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
