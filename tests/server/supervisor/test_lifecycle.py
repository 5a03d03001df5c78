import os
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from onnx import TensorProto, helper

import sightline
from sightline.v1 import models_pb2
from tests.support.artifacts import edit_manifest, write_artifact
from tests.support.load import Load, replace_worker, wait_for_another
from tests.support.requests import classify, fails_with, slowly
from tests.support.running import Server, running_server
from tests.support.stubs import Stubs

BREAKS_ONCE = """
import os, sys
if "service.worker" in " ".join(sys.orig_argv):
    import onnxruntime
    run, lost = onnxruntime.InferenceSession.run, []
    def run_or_fail(*arguments, **options):
        if os.path.exists(os.environ["BREAK"]):
            os.unlink(os.environ["BREAK"])
            lost.append(True)
        if lost:
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")
        return run(*arguments, **options)
    onnxruntime.InferenceSession.run = run_or_fail
"""
"""A ``sitecustomize``: once a file is there, every run of one worker fails, as a lost device's."""
CLASSIFICATION = "sightline.v1.ClassificationService"


def models_of(stubs: Stubs) -> dict[str, models_pb2.ModelStatus]:
    every = stubs.models.ListModels(models_pb2.ListModelsRequest()).models
    return {f"{each.identity.name}/{each.identity.version}": each for each in every}


def test_models_are_listed_with_their_state_and_labels(stubs: Stubs) -> None:
    models = models_of(stubs)
    assert list(models) == ["slow/1", "tiny/1", "tiny/2"]
    assert all(each.state == models_pb2.ModelStatus.STATE_READY for each in models.values())
    assert list(models["tiny/2"].version_labels) == ["canary"]
    selector = models_pb2.ModelSelector(name="tiny", label="canary")
    one = stubs.models.GetModel(models_pb2.GetModelRequest(model=selector)).model
    assert list(one.labels) == ["class 0", "class 1", "class 2", "class 3"]
    assert (one.input_height, one.input_width, one.input_channels) == (4, 4, 1)


def test_each_service_has_a_health_status_and_is_listed_by_reflection(stubs: Stubs) -> None:
    health: Any = health_pb2_grpc.HealthStub(stubs.channel)
    for service in ("", CLASSIFICATION, "sightline.v1.ModelService"):
        reply = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    assert CLASSIFICATION in ProtoReflectionDescriptorDatabase(stubs.channel).get_services()


def test_a_service_without_a_model_is_not_serving(stubs: Stubs) -> None:
    health: Any = health_pb2_grpc.HealthStub(stubs.channel)
    for service in ("sightline.v1.SegmentationService", "sightline.v1.DetectionService"):
        reply = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_probes_and_unknown_paths(server: Server) -> None:
    assert server.get("/livez")[0] == 200
    assert server.get("/readyz")[0] == 200
    assert server.get("/nothing")[0] == 404


def flip_a_byte(artifact: Path) -> None:
    path = artifact / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def without_golden(artifact: Path) -> None:
    (artifact / "golden.npz").unlink()


def other_hash(artifact: Path) -> None:
    edit_manifest(artifact, files={"model.onnx": "0" * 64, "golden.npz": "", "parity.json": ""})


def no_manifest(artifact: Path) -> None:
    (artifact / "manifest.json").write_text("{")


def test_broken_artifacts_are_unavailable_with_the_reason_and_leave_the_others_serving(
    tmp_path: Path,
) -> None:
    write_artifact(tmp_path, "good")
    expected = {
        "flipped": (flip_a_byte, "SHA-256"),
        "headless": (no_manifest, "no valid manifest"),
        "incomplete": (without_golden, "missing"),
        "mismatch": (other_hash, "SHA-256"),
    }
    for name, (break_it, _) in expected.items():
        break_it(write_artifact(tmp_path, name))
    write_artifact(tmp_path, "wrong", golden=np.full((3, 3), 1 / 3, np.float32))
    graph = helper.make_graph(
        [helper.make_node("NoSuchOperator", ["images"], ["scores"], domain="elsewhere")],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 4, 4, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("elsewhere", 1)]
    unknown: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    write_artifact(tmp_path, "unknown-op", graph=unknown, golden=np.zeros((3, 3), np.float32))
    reasons = {name: says for name, (_, says) in expected.items()}
    reasons |= {"wrong": "golden inputs do not reproduce", "unknown-op": "NoSuchOperator"}

    only_good = ("--set", "repository.required=good")
    with (
        running_server(tmp_path, *only_good) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        server.wait_until_ready()
        stubs = Stubs(channel)
        assert stubs.classification.Classify(classify(model="good")).results
        for name, says in reasons.items():
            with fails_with(grpc.StatusCode.UNAVAILABLE, says):
                stubs.classification.Classify(classify(model=name))
            assert models_of(stubs)[f"{name}/1"].state == models_pb2.ModelStatus.STATE_FAILED
        assert server.metric('sightline_model_ready{device="cpu",model="good",version="1"}') == 1
        assert server.metric('sightline_model_ready{device="cpu",model="wrong",version="1"}') == 0


@pytest.fixture
def own_server(tmp_path: Path):
    """A server that a test may harm."""
    write_artifact(tmp_path, "tiny")
    write_artifact(tmp_path, "slow", slow=True)
    with running_server(tmp_path) as server:
        server.wait_until_ready()
        yield server


def test_kill_9_of_a_worker_under_load_fails_no_call(own_server: Server) -> None:
    with Load(own_server.target, callers=16) as load:
        for _ in range(3):
            replace_worker(own_server, load)
        load.wait_for_more(100)
    assert load.failures == []
    assert own_server.metric('sightline_process_restarts_total{kind="worker"}') == 3


def test_an_input_that_was_running_on_two_dying_workers_is_refused(own_server: Server) -> None:
    with grpc.insecure_channel(own_server.target) as channel:
        stubs = Stubs(channel)
        call = stubs.classification.Classify.future(slowly(), timeout=60)
        for _ in range(2):
            own_server.wait_until(lambda server: running_rows(server) > 0)
            (worker,) = own_server.pids("worker")
            os.kill(worker, signal.SIGKILL)
            wait_for_another(own_server, "worker", worker)
        with fails_with(grpc.StatusCode.INTERNAL, "2 workers"):
            call.result()
        own_server.wait_until_ready()
        assert stubs.classification.Classify(classify(), timeout=30).results


def running_rows(server: Server) -> float:
    return server.metric("sightline_running_items")


def test_kill_9_of_a_frontend_fails_only_its_own_calls_as_unavailable(own_server: Server) -> None:
    with grpc.insecure_channel(own_server.target) as channel:
        stubs = Stubs(channel)
        assert stubs.classification.Classify(classify()).results
        call = stubs.classification.Classify.future(slowly())
        own_server.wait_until(lambda server: running_rows(server) > 0)
        (frontend,) = own_server.pids("frontend")
        os.kill(frontend, signal.SIGKILL)
        with fails_with(grpc.StatusCode.UNAVAILABLE):
            call.result()
    with sightline.Client(own_server.target) as client:
        assert client.classify(np.zeros((4, 4), np.uint8), model="tiny", timeout_s=30).labels
    assert own_server.metric('sightline_process_restarts_total{kind="frontend"}') == 1


def test_a_retrying_client_sees_no_killed_frontend(own_server: Server) -> None:
    # More patient than the default: on a busy machine a frontend takes longer to come back.
    patient = sightline.Retry(max_attempts=20, max_backoff_s=1)
    with sightline.Client(own_server.target, retries=patient) as client:
        for round_ in range(40):
            if round_ in (10, 25):
                (frontend,) = own_server.pids("frontend")
                os.kill(frontend, signal.SIGKILL)
            assert client.classify(np.zeros((4, 4), np.uint8), model="tiny", timeout_s=30).labels


def test_sigterm_lets_calls_under_way_finish_and_ends_with_0(own_server: Server) -> None:
    with grpc.insecure_channel(own_server.target) as channel:
        stubs = Stubs(channel)
        call = stubs.classification.Classify.future(slowly(), timeout=60)
        own_server.wait_until(lambda server: running_rows(server) > 0)
        assert own_server.stop() == 0
        assert call.result().results


def test_sighup_says_that_nothing_is_reloaded_and_changes_nothing(own_server: Server) -> None:
    processes = own_server.pids("frontend") + own_server.pids("worker")
    for pid in (own_server.process.pid, *processes):
        os.kill(pid, signal.SIGHUP)
    own_server.wait_until(lambda server: any("not supported" in line for line in server.log))
    with grpc.insecure_channel(own_server.target) as channel:
        assert Stubs(channel).classification.Classify(classify(), timeout=30).results
    assert own_server.pids("frontend") + own_server.pids("worker") == processes
    assert own_server.stop() == 0


def test_a_call_under_way_survives_its_worker_while_the_server_drains(own_server: Server) -> None:
    with grpc.insecure_channel(own_server.target) as channel:
        call = Stubs(channel).classification.Classify.future(slowly(), timeout=60)
        own_server.wait_until(lambda server: running_rows(server) > 0)
        (worker,) = own_server.pids("worker")
        own_server.process.send_signal(signal.SIGTERM)
        own_server.wait_until(lambda server: any("draining" in line for line in server.log))
        os.kill(worker, signal.SIGKILL)
        assert call.result().results
    assert own_server.process.wait(timeout=60) == 0


def test_a_worker_whose_device_stopped_is_replaced(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    (tmp_path / "sitecustomize.py").write_text(BREAKS_ONCE)
    trigger = tmp_path / "break"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {"PYTHONPATH": paths, "BREAK": str(trigger)}
    with running_server(tmp_path / "models", environment=environment) as server:
        server.wait_until_ready()
        (worker,) = server.pids("worker")
        with grpc.insecure_channel(server.target) as channel:
            stubs = Stubs(channel)
            trigger.touch()
            assert stubs.classification.Classify(classify(), timeout=60).results
        assert server.pids("worker") != [worker]
        server.wait_until(lambda server: any("ended with 70" in line for line in server.log))


def test_sigterm_does_not_wait_for_a_model_that_is_being_loaded(tmp_path: Path) -> None:
    write_artifact(
        tmp_path, "slow", slow=True, golden=np.zeros((3, 3), np.float32), first_pixel=255
    )
    with running_server(tmp_path, "--set", "server.drain_timeout_s=600") as server:
        server.wait_until(lambda server: bool(server.pids("worker")))
        (worker,) = server.pids("worker")
        begun = psutil.Process(worker).cpu_times()
        server.wait_until(lambda _: psutil.Process(worker).cpu_times().user > begun.user + 2)
        assert server.stop() == 0
        assert not [line for line in server.log if "reproduce" in line or "cannot" in line]


def test_the_server_listens_on_an_ipv6_address(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with running_server(tmp_path, "--host", "::1") as server:
        with grpc.insecure_channel(f"[::1]:{server.grpc_port}") as channel:
            answer = Stubs(channel).classification.Classify(
                classify(), wait_for_ready=True, timeout=60
            )
            assert answer.results
        with urllib.request.urlopen(f"http://[::1]:{server.http_port}/livez") as live:
            assert live.status == 200


def test_a_cancelled_call_ends_its_forward_run(own_server: Server) -> None:
    with grpc.insecure_channel(own_server.target) as channel:
        stubs = Stubs(channel)
        running = stubs.classification.Classify.future(slowly())
        own_server.wait_until(lambda server: running_rows(server) > 0)
        queued = stubs.classification.Classify.future(slowly())
        queued.cancel()
        running.cancel()
        assert stubs.classification.Classify(classify(), timeout=30).results
        own_server.wait_until(lambda server: server.metric("sightline_slots_in_use") == 0)
        assert own_server.pids("worker")
        assert not [line for line in own_server.log if "ERROR" in line]


def test_a_label_of_a_missing_version_is_answered_by_no_other_version(tmp_path: Path) -> None:
    write_artifact(tmp_path, "tiny", 1)
    write_artifact(tmp_path, "tiny", 2)
    (tmp_path / "tiny" / "labels.json").write_text('{"stable": 7, "canary": 2}')
    write_artifact(tmp_path, "muddled")
    (tmp_path / "muddled" / "labels.json").write_text('{"stable": "one"}')
    write_artifact(tmp_path, "good")
    only_good = ("--set", "repository.required=good")
    with (
        running_server(tmp_path, *only_good) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        server.wait_until_ready()
        stubs = Stubs(channel)
        for request, says in (
            (classify(), "calls it stable, and there is no"),
            (classify(model="muddled"), "is not of the form"),
        ):
            with fails_with(grpc.StatusCode.UNAVAILABLE, says):
                stubs.classification.Classify(request)
        canary = models_pb2.ModelSelector(name="tiny", label="canary")
        assert stubs.classification.Classify(classify(selector=canary)).model.version == 2
        assert "calls it stable" in server.status()["models"]["tiny/7"]


def test_a_second_server_on_the_same_port_is_refused(own_server: Server, tmp_path: Path) -> None:
    import subprocess
    import sys

    flags = [
        "--models",
        str(tmp_path),
        "--grpc-port",
        str(own_server.grpc_port),
        "--http-port",
        "0",
    ]
    second = subprocess.run(
        [sys.executable, "-m", "service", *flags], capture_output=True, text=True, timeout=60
    )
    assert second.returncode != 0
    assert f"cannot listen on 127.0.0.1:{own_server.grpc_port}" in second.stderr


def test_an_empty_repository_is_refused_with_what_to_do(tmp_path: Path) -> None:
    import subprocess
    import sys

    ended = subprocess.run(
        [sys.executable, "-m", "service", "--models", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "sightline export" in ended.stderr
