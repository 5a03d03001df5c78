from collections.abc import Iterator

import grpc
import pytest

from sightline.v1 import classification_pb2_grpc, models_pb2_grpc
from tests.artifacts import write_artifact
from tests.running import Server, running_server


class Stubs:
    """A channel to a server, and its services."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.classification = classification_pb2_grpc.ClassificationServiceStub(channel)
        self.models = models_pb2_grpc.ModelServiceStub(channel)


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
