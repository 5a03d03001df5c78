"""The replay of golden inputs: it warms the model up, and checks it before it is served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.artifact.manifest import GOLDEN_FILE, ArtifactError, Bucket, Manifest, golden_key
from service.worker.session import Array, ModelSession


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """How close the replayed outputs are to the expected ones."""

    rows: int
    batch_sizes: tuple[int, ...]
    max_absolute: float  # largest |actual - expected|
    max_relative: float  # largest |actual - expected| / |expected|, where |expected| > 1e-6
    agreement: float  # least share of an output's elements within the tolerance, 0..1


def replay_golden(session: ModelSession, artifact_dir: Path) -> GoldenReport:
    """Run the golden inputs of every bucket, at batch size 1 and the largest, and compare.

    Raises:
        ArtifactError: an output differs from the expected one by more than the tolerance.
    """
    report = GoldenReport(0, (), 0.0, 0.0, 1.0)
    with np.load(artifact_dir / GOLDEN_FILE, allow_pickle=False) as golden:
        for bucket in session.manifest.shapes:
            report = _replay_bucket(session, golden, bucket, report)
    return report


def _replay_bucket(
    session: ModelSession, golden: Mapping[str, Array], bucket: Bucket, report: GoldenReport
) -> GoldenReport:
    """Add the replay of one bucket to the report, or raise `ArtifactError`."""
    manifest = session.manifest
    inputs = [_golden_array(golden, golden_key(spec.name, bucket)) for spec in manifest.inputs]
    expected = [_golden_array(golden, golden_key(spec.name, bucket)) for spec in manifest.outputs]
    rows = len(inputs[0])
    sizes = tuple(sorted({1, min(rows, session.max_batch_size), session.max_batch_size}))
    report = replace(
        report,
        rows=report.rows + rows,
        batch_sizes=tuple(sorted({*report.batch_sizes, *sizes})),
    )
    for size in sizes:
        actual = _run_repeated(session, inputs, rows, size)
        report = _compare(report, actual, expected, manifest, size)
    return report


def _run_repeated(
    session: ModelSession, inputs: Sequence[Array], rows: int, size: int
) -> list[Array]:
    """The outputs of all ``rows`` rows, in batches of ``size``; the last one is filled up."""
    collected: list[list[Array]] = []
    for start in range(0, rows, size):
        chosen = np.arange(start, start + size) % rows
        batch = [np.ascontiguousarray(array[chosen]) for array in inputs]
        keep = min(size, rows - start)
        outputs = session.run(batch, size, with_optional=True)
        collected.append([output[:keep].copy() for output in outputs])
    return [np.concatenate(parts) for parts in zip(*collected, strict=True)]


def _golden_array(golden: Mapping[str, Array], key: str) -> Array:
    if key not in golden or not len(golden[key]):
        raise ArtifactError(f"{GOLDEN_FILE} has no rows for {key!r}; export the model again")
    return golden[key]


def _compare(
    report: GoldenReport,
    actual: Sequence[Array],
    expected: Sequence[Array],
    manifest: Manifest,
    size: int,
) -> GoldenReport:
    """Add one replay to the report, or raise `ArtifactError`."""
    absolute, relative, agreement = report.max_absolute, report.max_relative, report.agreement
    for spec, ours, theirs in zip(manifest.outputs, actual, expected, strict=True):
        if ours.shape != theirs.shape:
            raise ArtifactError(f"{spec.name} is {ours.shape}, golden is {theirs.shape}")
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        magnitude = np.abs(theirs.astype(np.float64))
        allowed = manifest.tolerance.atol + manifest.tolerance.rtol * magnitude
        agreeing = float((difference <= allowed).mean())  # NaN does not agree
        if agreeing < 1 - manifest.tolerance.mismatch_share:
            raise ArtifactError(
                f"golden inputs do not reproduce at batch {size}: {spec.name} is off by up to"
                f" {difference.max():.2e}; serve it elsewhere, or export it again"
            )
        agreement = min(agreement, agreeing)
        absolute = max(absolute, float(difference.max()))
        solid = magnitude > 1e-6
        if solid.any():
            relative = max(relative, float((difference[solid] / magnitude[solid]).max()))
    return replace(report, max_absolute=absolute, max_relative=relative, agreement=agreement)
