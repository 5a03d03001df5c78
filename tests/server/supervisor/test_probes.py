"""What probes, health checks and reflection are told."""

import http.client
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.artifacts import write_artifact
from tests.support.running import Server, running_server
from tests.support.stubs import Stubs

CLASSIFICATION = "sightline.v1.ClassificationService"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/", "/metrics?x=y", "/livez/", "/readyz?verbose", "/readyz/?a"]
)
def test_probes_ignore_queries_and_a_final_slash_and_answer_head(
    server: Server, method: str, path: str
) -> None:
    with closing(
        http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    ) as http_port:
        http_port.request(method, path)
        answer = http_port.getresponse()
        body = answer.read()
    assert answer.status == 200
    assert int(answer.headers["Content-Length"]) > 0
    assert bool(body) == (method == "GET")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_and_describes_the_services(stubs: Stubs, version: str) -> None:
    own = f"grpc.reflection.{version}.ServerReflection"
    ask = stubs.channel.stream_stream(
        f"/{own}/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    questions = [reflection_pb2.ServerReflectionRequest(list_services="")]
    for symbol in (CLASSIFICATION, own):
        questions.append(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
    services, *files = ask(iter(questions))
    assert {
        CLASSIFICATION,
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    } < {each.name for each in services.list_services_response.service}
    for file, symbol in zip(files, (CLASSIFICATION, own), strict=True):
        content = file.file_descriptor_response.file_descriptor_proto[0]
        described = descriptor_pb2.FileDescriptorProto.FromString(content)
        assert symbol in [f"{described.package}.{each.name}" for each in described.service]


def broken_beside_good(models: Path) -> None:
    write_artifact(models, "good")
    write_artifact(models, "broken", 1)
    (write_artifact(models, "broken", 2) / "model.onnx").unlink()
    (models / "broken" / "labels.json").write_text('{"stable": 2, "old": 1}')


def is_serving(server: Server) -> tuple[bool, bool]:
    """The health of the server and of a service."""
    with grpc.insecure_channel(server.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        return tuple(
            health.Check(health_pb2.HealthCheckRequest(service=service)).status
            == health_pb2.HealthCheckResponse.SERVING
            for service in ("", CLASSIFICATION)
        )


def test_a_server_whose_chosen_version_failed_is_not_ready(tmp_path: Path) -> None:
    broken_beside_good(tmp_path)
    with running_server(tmp_path) as server:
        server.wait_until(lambda server: "loading" not in server.status()["models"].values())
        server.wait_until(lambda server: "required" in server.get("/readyz")[1])
        code, says = server.get("/readyz")
        assert code == 503
        assert "broken/2: " in says
        assert "model.onnx is missing" in says
        assert is_serving(server) == (False, False)


def test_a_model_that_is_not_required_leaves_the_server_ready(tmp_path: Path) -> None:
    broken_beside_good(tmp_path)
    with running_server(tmp_path, "--set", "repository.required=good") as server:
        server.wait_until_ready()
        assert is_serving(server) == (True, True)


def test_a_required_model_that_is_not_there_keeps_the_server_unready(tmp_path: Path) -> None:
    write_artifact(tmp_path, "good")
    with running_server(tmp_path, "--set", "repository.required=good,absent") as server:
        server.wait_until(
            lambda server: "absent is not in the repository" in server.get("/readyz")[1]
        )
        assert server.get("/readyz")[0] == 503
        assert is_serving(server) == (False, True)
