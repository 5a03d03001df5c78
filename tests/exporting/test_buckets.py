"""Artifacts with several inputs and outputs, and with axes beside the batch that vary."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.artifact.parity import Agreement, Outputs
from export.artifact.spec import ArtifactSpec
from export.errors import ExportError, GraphError, ParityError
from export.pytorch.exporter import export_module
from service.artifact.manifest import ArtifactError, Task, TensorSpec, Tolerance, read_manifest
from service.devices import Device
from service.worker.golden import replay_golden
from service.worker.session import ModelSession, SessionOptions

BUCKETS = ({"time": 1}, {"time": 6})


class RunningMean(nn.Module):
    """``values [N, T, 2], total [N, 2] -> means [N, T, 2], totals [N, 2]``."""

    def forward(self, values: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        totals = values.cumsum(1) + total[:, None]
        return totals * 0.5, totals[:, -1]


def all_alike(actual: Outputs, expected: Outputs) -> NDArray[np.float64]:
    return np.isclose(actual[0], expected[0], atol=1e-3).reshape(len(actual[0]), -1).mean(1)


def rows(time: int, seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "values": rng.normal(size=(3, time, 2)).astype(np.float32),
        "total": rng.normal(size=(3, 2)).astype(np.float32),
    }


@pytest.fixture
def spec() -> ArtifactSpec:
    return ArtifactSpec(
        name="mean",
        task=Task.SEQUENCE,
        inputs=(
            TensorSpec(name="values", dtype="float32", axes=("batch", "time", 2)),
            TensorSpec(name="total", dtype="float32", axes=("batch", 2)),
        ),
        outputs=(
            TensorSpec(name="means", dtype="float32", axes=("batch", "time", 2)),
            TensorSpec(name="new_total", dtype="float32", axes=("batch", 2)),
        ),
        golden=tuple(rows(bucket["time"], 1) for bucket in BUCKETS),
        probes=tuple(rows(bucket["time"], 2) for bucket in BUCKETS),
        agreement=Agreement("means", all_alike),
        buckets=BUCKETS,
    )


def session_of(artifact: Path) -> ModelSession:
    manifest, _ = read_manifest(artifact)
    return ModelSession(artifact, manifest, SessionOptions(Device.parse("cpu")))


def test_every_bucket_is_proved_and_replayed(spec: ArtifactSpec, tmp_path: Path) -> None:
    artifact = export_module(RunningMean(), spec, tmp_path)
    results = json.loads((artifact / "parity.json").read_text())["results"]
    assert [result["bucket"] for result in results] == [BUCKETS[0]] * 3 + [BUCKETS[1]] * 3
    with np.load(artifact / "golden.npz") as golden:
        assert golden["means@time=6"].shape == (3, 6, 2)
        assert golden["new_total@time=1"].shape == (3, 2)
    report = replay_golden(session_of(artifact), artifact)
    assert (report.rows, report.agreement) == (6, 1.0)


def test_golden_rows_that_do_not_reproduce_in_one_bucket_are_found(
    spec: ArtifactSpec, tmp_path: Path, replace_golden: Callable[[Path, str, float], None]
) -> None:
    artifact = export_module(RunningMean(), spec, tmp_path)
    replace_golden(artifact, "means@time=6", 0.1)
    with pytest.raises(ArtifactError, match="means is off by up to 1"):
        replay_golden(session_of(artifact), artifact)


@pytest.fixture
def replace_golden() -> Callable[[Path, str, float], None]:
    """Add to one array of ``golden.npz``, and let the manifest agree."""

    def change(artifact: Path, key: str, offset: float) -> None:
        from service.artifact.manifest import sha256_of

        path = artifact / "golden.npz"
        with np.load(path) as golden:
            content = dict(golden)
        content[key] = content[key] + np.float32(offset)
        np.savez(path, allow_pickle=False, **content)
        manifest = json.loads((artifact / "manifest.json").read_text())
        manifest["files"]["golden.npz"] = sha256_of(path)
        (artifact / "manifest.json").write_text(json.dumps(manifest))

    return change


def test_a_frozen_time_axis_is_refused(spec: ArtifactSpec, tmp_path: Path) -> None:
    class Frozen(nn.Module):
        def forward(self, values: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            steps = [values[:, index] + total for index in range(values.shape[1])]
            return torch.stack(steps, 1), steps[-1]

    with pytest.raises(ExportError):
        export_module(Frozen(), spec, tmp_path)
    assert not any(tmp_path.iterdir())


def test_outputs_in_another_order_are_refused(spec: ArtifactSpec, tmp_path: Path) -> None:
    swapped = replace(spec, outputs=spec.outputs[::-1])
    with pytest.raises(GraphError, match="the network answers with"):
        export_module(RunningMean(), swapped, tmp_path)


class AlmostRight(nn.Module):
    """Exports with 1 of 200 values wrong."""

    def forward(self, values: Tensor) -> Tensor:
        wrong = torch.zeros(200)
        wrong[7] = 1.0 if torch.compiler.is_exporting() else 0.0
        return values + wrong


def almost_right(mismatch_share: float) -> ArtifactSpec:
    axes = ("batch", 200)
    values = {"values": np.zeros((2, 200), np.float32)}
    return ArtifactSpec(
        name="almost",
        task=Task.SEQUENCE,
        inputs=(TensorSpec(name="values", dtype="float32", axes=axes),),
        outputs=(TensorSpec(name="same", dtype="float32", axes=axes),),
        golden=(values,),
        probes=(values,),
        agreement=Agreement("values", lambda ours, _: np.ones(len(ours[0]))),
        tolerance=Tolerance(atol=1e-4, rtol=1e-3, mismatch_share=mismatch_share),
    )


def test_as_many_elements_may_differ_as_the_tolerance_says(tmp_path: Path) -> None:
    artifact = export_module(AlmostRight(), almost_right(0.005), tmp_path)
    assert replay_golden(session_of(artifact), artifact).agreement == pytest.approx(0.995)
    with pytest.raises(ParityError, match="differ by 1"):
        export_module(AlmostRight(), almost_right(0.004), tmp_path)
