"""The replay of golden inputs: a model's warm-up, and the gate before it is served."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.manifest import GOLDEN_FILE, ArtifactError, Manifest
from service.session import Array, ModelSession


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """What the replay of the golden inputs found."""

    rows: int
    batch_sizes: tuple[int, ...]
    max_absolute: float  # largest |actual - expected|
    max_relative: float  # largest |actual - expected| / |expected|, where |expected| > 1e-6
    top1_agreement: float  # share of rows with the same best class, 0..1; 1 for other tasks


def replay_golden(session: ModelSession, artifact_dir: Path) -> GoldenReport:
    """Run the golden inputs here, at batch 1 and at the largest batch, and compare.

    Raises:
        ArtifactError: an output is further from the expected one than the manifest tolerates.
    """
    manifest = session.manifest
    with np.load(artifact_dir / GOLDEN_FILE, allow_pickle=False) as golden:
        inputs = [_golden_array(golden, spec.name) for spec in manifest.inputs]
        expected = [_golden_array(golden, spec.name) for spec in manifest.outputs]
    rows = len(inputs[0])
    sizes = sorted({1, min(rows, session.max_batch_size), session.max_batch_size})
    report = GoldenReport(rows, tuple(sizes), 0.0, 0.0, 1.0)
    for size in sizes:
        actual = _run_repeated(session, inputs, rows, size)
        report = _compare(report, actual, expected, manifest, size)
    return report


def _run_repeated(
    session: ModelSession, inputs: Sequence[Array], rows: int, size: int
) -> list[Array]:
    """The outputs of all ``rows`` rows, run in batches of ``size``; the last is filled up."""
    collected: list[list[Array]] = []
    for start in range(0, rows, size):
        chosen = np.arange(start, start + size) % rows
        batch = [np.ascontiguousarray(array[chosen]) for array in inputs]
        keep = min(size, rows - start)
        collected.append([output[:keep].copy() for output in session.run(batch, size)])
    return [np.concatenate(parts) for parts in zip(*collected, strict=True)]


def _golden_array(golden: Any, name: str) -> Array:
    if name not in golden or not len(golden[name]):
        raise ArtifactError(f"{GOLDEN_FILE} has no rows for {name!r}; export the model again")
    return golden[name]


def _compare(
    report: GoldenReport,
    actual: Sequence[Array],
    expected: Sequence[Array],
    manifest: Manifest,
    size: int,
) -> GoldenReport:
    """Fold one replay into the report, or refuse."""
    absolute, relative, agreement = report.max_absolute, report.max_relative, report.top1_agreement
    for spec, ours, theirs in zip(manifest.outputs, actual, expected, strict=True):
        if ours.shape != theirs.shape:
            raise ArtifactError(f"{spec.name} is {ours.shape}, golden is {theirs.shape}")
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        magnitude = np.abs(theirs.astype(np.float64))
        allowed = manifest.tolerance.atol + manifest.tolerance.rtol * magnitude
        if not (difference <= allowed).all():  # false for NaN, too
            raise ArtifactError(
                f"golden inputs do not reproduce at batch {size}: {spec.name} is off by up to"
                f" {difference.max():.2e}; serve it elsewhere, or export it again"
            )
        absolute = max(absolute, float(difference.max()))
        solid = magnitude > 1e-6
        if solid.any():
            relative = max(relative, float((difference[solid] / magnitude[solid]).max()))
        if manifest.labels and ours.ndim == 2:
            same = ours.argmax(axis=1) == theirs.argmax(axis=1)
            agreement = min(agreement, float(same.mean()))
    return GoldenReport(report.rows, report.batch_sizes, absolute, relative, agreement)
