"""What the server needs around it, and what it does without."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

import sightline
from service.artifact.manifest import MODEL_FILE
from service.settings import SettingsError, load_settings
from tests.support.artifacts import write_artifact
from tests.support.running import running_server

ROW = np.zeros((4, 4), np.uint8)
SILENCERS = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")


def test_the_server_answers_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    for package in ("torch", "onnx", "onnxscript"):
        (blocked / package).mkdir(parents=True)
        (blocked / package / "__init__.py").write_text("raise ImportError('not in the image')")
    write_artifact(tmp_path / "models")
    path = os.pathsep.join([str(blocked), os.environ.get("PYTHONPATH", "")])
    with running_server(tmp_path / "models", environment={"PYTHONPATH": path}) as server:
        server.wait_until_ready()
        with sightline.Client(server.target) as client:
            assert client.classify(ROW, model="tiny").labels


@pytest.mark.parametrize(
    "module", ["service", "service.frontend.process", "service.supervisor.supervisor"]
)
def test_neither_torch_nor_export_nor_the_client_is_loaded_by_the_server(module: str) -> None:
    code = (
        f"import {module}, sys; loaded = set(sys.modules) & "
        "{'torch', 'onnx', 'export', 'sightline._async', 'sightline._sync', 'sightline.cli'}; "
        "assert not loaded, loaded"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_frontend_does_not_load_onnx_runtime() -> None:
    code = "import service.frontend.process, sys; assert 'onnxruntime' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "module", ["service.worker.session", "export.artifact.parity", "bench.ceilings"]
)
def test_onnx_runtime_reports_no_session(module: str, tmp_path: Path) -> None:
    """A session that is reported leaves an identifier of the machine in the home folder."""
    artifact = write_artifact(tmp_path / "models")
    (tmp_path / "home").mkdir()
    model = str(artifact / MODEL_FILE)
    code = f"import {module}, onnxruntime; onnxruntime.InferenceSession({model!r})"
    environment = {
        **{name: value for name, value in os.environ.items() if name not in SILENCERS},
        "HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True
    )
    assert not done.stderr
    assert not list((tmp_path / "home").rglob("*"))


def openssl(*arguments: str, cwd: Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, cwd=cwd, capture_output=True)


@pytest.fixture
def certified(tmp_path: Path) -> Path:
    """A folder with a certificate and its key."""
    request = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    request += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    openssl(*request, "-keyout", "key.pem", "-out", "cert.pem", cwd=tmp_path)
    return tmp_path


def test_files_for_tls_that_cannot_be_used_are_refused_before_anything_starts(
    certified: Path,
) -> None:
    for certificate, key in (("absent.pem", "key.pem"), ("key.pem", "key.pem")):
        files = {"tls_certificate": certified / certificate, "tls_key": certified / key}
        with pytest.raises(SettingsError, match=certificate):
            load_settings(flags={"server": files})
    authority = {"tls_client_ca": certified / "key.pem", "tls_certificate": certified / "cert.pem"}
    with pytest.raises(SettingsError, match="tls_client_ca"):
        load_settings(flags={"server": {**authority, "tls_key": certified / "key.pem"}})


def test_tls_end_to_end(certified: Path, tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    flags = [f"--set=server.tls_certificate={certified / 'cert.pem'}"]
    flags += [f"--set=server.tls_key={certified / 'key.pem'}"]
    with running_server(tmp_path / "models", *flags) as server:
        server.wait_until_ready()
        tls = sightline.Tls(root_certificates=certified / "cert.pem")
        with sightline.Client(f"localhost:{server.grpc_port}", tls=tls) as client:
            assert client.classify(ROW, model="tiny").labels
        with (
            sightline.Client(server.target, retries=sightline.Retry(max_attempts=1)) as client,
            pytest.raises(sightline.Unavailable),
        ):
            client.classify(ROW, model="tiny", timeout_s=10)


def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with running_server(tmp_path) as server:
        server.wait_until_ready()
        children = psutil.Process(server.process.pid).children()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(timeout=30)
        _, alive = psutil.wait_procs(children, timeout=60)
        assert alive == []


def test_print_settings_prints_the_resolved_settings_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service", "--models", str(tmp_path), "--print-settings"]
    ended = subprocess.run(
        [*command, "--set", "batching.queue_capacity=77"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ended.stdout)["batching"]["queue_capacity"] == 77


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--set", "batching.nonsense=1"], "batching.nonsense"),
        (["--models", "absent"], "there is no folder"),
        (["--devices", "tpu"], "'tpu' is neither auto, cpu nor cuda:N"),
    ],
)
def test_check_refuses_settings_that_cannot_be_used(
    tmp_path: Path, flags: list[str], says: str
) -> None:
    write_artifact(tmp_path)
    command = [sys.executable, "-m", "service", "--models", str(tmp_path), "--check", *flags]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert says in refused.stderr


@pytest.mark.parametrize("folder", ["", "tiny", "tiny/2"])
def test_verify_takes_an_artifact_a_model_or_a_repository(tmp_path: Path, folder: str) -> None:
    write_artifact(tmp_path, "tiny", 1)
    write_artifact(tmp_path, "tiny", 2)
    command = [sys.executable, "-m", "sightline", "verify", str(tmp_path / folder)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ("tiny/1" in shown, "tiny/2" in shown) == (folder != "tiny/2", True)


def test_several_frontends_and_workers_share_the_load(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with running_server(tmp_path, "--frontends", "2", "--workers", "2") as server:
        server.wait_until_ready()
        assert len(server.pids("frontend")) == len(server.pids("worker")) == 2
        for _ in range(12):  # a connection each; the system spreads them over the frontends
            with sightline.Client(server.target) as client:
                assert client.classify(ROW, model="tiny").labels
        worker = server.pids("worker")[0]
        os.kill(worker, signal.SIGKILL)
        with sightline.Client(server.target) as client:
            for _ in range(20):
                assert client.classify(ROW, model="tiny").labels
