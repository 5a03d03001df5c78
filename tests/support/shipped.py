"""The shipped models as artifacts, for tests that ask them all."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import grpc
import pytest

import export
from export.artifact import parity
from export.artifact.spec import Rows
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import read_description, shipped_models
from export.pytorch.exporter import export_module
from export.pytorch.heads import segmentation
from export.pytorch.network import ArtifactOptions, Network
from export.pytorch.resolve import PREPARE, NetworkSource, resolve
from service.artifact import manifest
from service.artifact.manifest import Manifest, Task, read_manifest
from tests.support.running import running_server
from tests.support.stubs import Stubs

BUCKETS = (240, 320), (320, 240)
"""Height and width: those of the shipped segmenters' buckets that take the least time."""
BATCH_SIZES = 1, 2


@cache
def network_of(name: str) -> Network:
    network = resolve(NetworkSource(name))
    network.module.float().eval()
    return network


def shipped(task: Task) -> list[str]:
    """The names of the shipped models of a task."""
    descriptions = {
        name: read_description(read_checkpoint(path)) for name, path in shipped_models().items()
    }
    return sorted(name for name, each in descriptions.items() if each and each.task == task)


def state_of(names: list[str]) -> str:
    """Another one for whatever may change their artifacts: weights, code, libraries."""
    digest = hashlib.sha256(repr(parity.versions()).encode())
    code = Path(export.__path__[0])
    files = [
        Path(__file__),
        Path(manifest.__file__),
        *code.glob("artifact/*.py"),
        *code.glob("pytorch/**/*.py"),
        *code.glob("models/**/*.py"),
    ]
    for path in (*sorted(files), *(shipped_models()[name] for name in names)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def exported(task: Task, cache: pytest.Cache) -> Path:
    """A repository of all shipped models of a task; pytest's cache keeps it.

    They are what ``sightline export`` makes, from fewer golden rows and for fewer buckets and batch
    sizes: the rest of an export's time goes into proofs of which nothing is seen here.
    """
    names = shipped(task)
    folder = cache.mkdir(f"shipped-{task}")
    repository = folder / state_of(names)
    for old in folder.iterdir():
        if old != repository:
            shutil.rmtree(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "SIZES_PX", BUCKETS)
        patch.setattr(parity, "BATCH_SIZES", BATCH_SIZES)
        for name in names:
            if not (repository / name / "1").is_dir():
                export_sparingly(name, repository)
    return repository


@contextmanager
def asking(repository: Path) -> Iterator[Stubs]:
    """A server of its models."""
    environment = {"SIGHTLINE_WORKERS__CALIBRATION_S": "0"}
    with running_server(repository, environment=environment) as server:
        server.wait_until(lambda it: it.get("/readyz")[0] == 200, timeout_s=300)
        with grpc.insecure_channel(server.target) as channel:
            yield Stubs(channel)


def export_sparingly(name: str, repository: Path) -> None:
    network = network_of(name)
    assert network.preprocessing is not None
    if network.task is Task.SEGMENTATION:
        height, width = BUCKETS[0]
        small = network.preprocessing.model_copy(update={"height": height, "width": width})
        network = replace(network, preprocessing=small)
    wishes = ArtifactOptions(name, version=1, max_batch_size=max(BATCH_SIZES))
    module, spec = PREPARE[network.task](network, wishes)
    golden, probes = (tuple(map(first_row, rows)) for rows in (spec.golden, spec.probes))
    export_module(module, replace(spec, golden=golden, probes=probes), repository)


def first_row(rows: Rows) -> Rows:
    return {name: values[:1] for name, values in rows.items()}


def manifest_of(repository: Path, name: str) -> Manifest:
    return read_manifest(repository / name / "1")[0]
