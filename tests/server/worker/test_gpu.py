"""What has to hold on a CUDA device: the same answers as on the CPU, and no call lost."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from skimage import data

import sightline
from tests.support.artifacts import write_artifact
from tests.support.load import Load, replace_worker
from tests.support.running import Server, running_server

pytestmark = pytest.mark.gpu

MODELS = {
    "cifar10-resnet": [],
    "efficientnet-lite0": ["--factory", "examples.efficientnet_lite0:factory"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two classifiers of the demonstration, and ``tiny``."""
    folder = tmp_path_factory.mktemp("models")
    for name, options in MODELS.items():
        command = ["export", name, *options, "--version", "1", "--output", str(folder)]
        subprocess.run([sys.executable, "-m", "sightline", *command], check=True)
    write_artifact(folder)
    return folder


@pytest.fixture(scope="module")
def gpu_server(models: Path) -> Iterator[Server]:
    with running_server(models, "--devices", "cuda:0") as server:
        server.wait_until_ready()  # so each has passed its golden replay, or is refused
        yield server


@pytest.mark.parametrize("model", MODELS)
def test_an_image_is_answered_on_cuda_as_on_the_cpu(
    models: Path, gpu_server: Server, model: str
) -> None:
    with sightline.Client(gpu_server.target) as client:
        on_gpu = client.classify(data.coffee(), model=model)
    with running_server(models) as cpu_server, sightline.Client(cpu_server.target) as client:
        client.wait_until_ready(model, timeout_s=60)
        on_cpu = client.classify(data.coffee(), model=model)
    assert (on_gpu.timing.device, on_cpu.timing.device) == ("cuda:0", "cpu")
    assert on_gpu.best.name == on_cpu.best.name
    assert on_gpu.best.score == pytest.approx(on_cpu.best.score, abs=1e-2)


def test_kill_9_of_the_worker_of_a_gpu_fails_no_call(gpu_server: Server) -> None:
    with Load(gpu_server.target, callers=16) as load:
        replace_worker(gpu_server, load)
        load.wait_for_more(100)
    assert load.failures == []
