"""Parity: proof that ONNX Runtime gives PyTorch's answers, at batch 1 and n."""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from export.artifact.tolerances import differences, is_within
from export.errors import ParityError
from service.artifact.manifest import PARITY_FILE, Bucket, Tolerance

BATCH_SIZES = (1, 3, 8)
RANDOM_SEED = 0
"""The seed of the random inputs."""
RELATIVE_FLOOR = 1e-6
"""Smaller values count as this large in relative differences."""

Inputs = Sequence[NDArray[Any]]
"""``[N, ...]`` each, in the order of the manifest."""
Outputs = tuple[NDArray[Any], ...]
"""``[N, ...]`` each, in the order of the manifest."""
RunBatch = Callable[[Inputs], Outputs]


@dataclass(frozen=True)
class Agreement:
    """How the task's answer is compared, as a caller would see it."""

    name: str
    """Such as ``best label`` or ``pixels of the mask``."""
    share: Callable[[Outputs, Outputs], NDArray[np.float64]]
    """From ONNX Runtime's and PyTorch's outputs to the equal share of each row, ``[N]`` in 0..1."""
    least: float = 1.0
    """The mean share below which an export is refused."""


@dataclass(frozen=True)
class Comparison:
    """PyTorch compared with one provider, over all inputs, at one bucket and batch size."""

    provider: str
    precision: str
    bucket: dict[str, int]
    batch_size: int
    rows: int
    max_absolute: float
    max_relative: float
    agreement: float
    """Mean share of the task's answer, in 0..1, that is the same."""


def open_session(
    path: Path, provider: str = "CPUExecutionProvider"
) -> onnxruntime.InferenceSession:
    """Open a graph on exactly one provider.

    Raises:
        ParityError: ONNX Runtime does not load the graph.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=[provider], enable_fallback=0)
    except Exception as err:  # its exceptions have no common base but this
        raise ParityError(f"ONNX Runtime does not load the graph on {provider}: {err}") from err


def compare(
    reference: RunBatch,
    session: onnxruntime.InferenceSession,
    inputs: Inputs,
    tolerance: Tolerance,
    agreement: Agreement,
    place: tuple[str, Bucket],
) -> list[Comparison]:
    """Run every input through both, at each of ``BATCH_SIZES``.

    Args:
        reference: PyTorch.
        session: the graph.
        inputs: golden rows and random ones, of one bucket.
        tolerance: how far the answers may differ.
        agreement: the task's answer.
        place: the provider on which the session runs and the bucket, for the report.

    Raises:
        ParityError: the answers differ by more, an output is not finite, shapes or dtypes differ,
            or an answer depends on the other rows of its batch.
    """
    provider, bucket = place
    alone = in_batches(reference, inputs, 1)
    check_finite("PyTorch", alone)
    results: list[Comparison] = []
    for batch_size in BATCH_SIZES:
        expected = in_batches(reference, inputs, batch_size)
        where = f"in batches of {batch_size}"
        check_close("PyTorch", expected, "PyTorch one by one", alone, tolerance, where)
        actual = in_batches(lambda batch: run_session(session, batch), inputs, batch_size)
        check_close("ONNX Runtime", actual, "PyTorch", expected, tolerance, where)
        results.append(
            Comparison(
                provider=provider,
                precision="float32",
                bucket=dict(bucket),
                batch_size=batch_size,
                rows=len(inputs[0]),
                max_absolute=max(map(max_absolute, actual, expected)),
                max_relative=max(map(max_relative, actual, expected)),
                agreement=check_agreement(actual, expected, agreement, where),
            )
        )
    return results


def run_session(session: onnxruntime.InferenceSession, batch: Inputs) -> Outputs:
    """The outputs for one batch.

    Raises:
        ParityError: the graph does not run on a batch of this size.
    """
    feeds = {each.name: rows for each, rows in zip(session.get_inputs(), batch, strict=True)}
    try:
        outputs = session.run(None, feeds)
    except Exception as err:  # its exceptions have no common base but this
        raise ParityError(
            f"ONNX Runtime fails on a batch of {len(batch[0])}; export a free batch axis: {err}"
        ) from err
    return tuple(np.asarray(output) for output in outputs)


def in_batches(run: RunBatch, inputs: Inputs, batch_size: int) -> Outputs:
    """RunBatch all rows in batches of ``batch_size``; the last one is filled up from the start."""
    rows = len(inputs[0])
    indices = np.arange(-(-rows // batch_size) * batch_size) % rows
    batches = [run([each[part] for each in inputs]) for part in indices.reshape(-1, batch_size)]
    for outputs in batches:
        for output in outputs:
            if output.shape[:1] != (batch_size,):
                raise ParityError(
                    f"a batch of {batch_size} rows came back as {list(output.shape)}: the batch"
                    " axis is fixed"
                )
    return tuple(np.concatenate(parts)[:rows] for parts in zip(*batches, strict=True))


def check_finite(name: str, outputs: Outputs) -> None:
    """Refuse NaN and infinity."""
    if not all(np.isfinite(output).all() for output in outputs):
        raise ParityError(f"{name} answers a golden or random input with NaN or infinity")


def check_close(
    name: str,
    actual: Outputs,
    reference_name: str,
    expected: Outputs,
    tolerance: Tolerance,
    where: str,
) -> None:
    """Refuse outputs of another shape, another dtype, or beyond the tolerance."""
    ours = [(output.dtype, output.shape) for output in actual]
    theirs = [(output.dtype, output.shape) for output in expected]
    if ours != theirs:
        raise ParityError(f"{name} answers with {ours}, {reference_name} with {theirs} ({where})")
    check_finite(name, actual)
    for ours_, theirs_ in zip(actual, expected, strict=True):
        if not is_within(ours_, theirs_, tolerance):
            raise ParityError(
                f"{name} and {reference_name} differ by {max_absolute(ours_, theirs_):.2g} {where}"
                f" (allowed: {tolerance.atol:g} + {tolerance.rtol:g} of the value, in all but"
                f" {tolerance.mismatch_share:g} of the elements); look for randomness, for state,"
                " and for answers that depend on the other rows of the batch"
            )


def check_agreement(actual: Outputs, expected: Outputs, agreement: Agreement, where: str) -> float:
    """The mean share of the task's answer that is the same; refuse a small one."""
    shares = agreement.share(actual, expected)
    mean = float(shares.mean())
    if mean < agreement.least:
        raise ParityError(
            f"ONNX Runtime and PyTorch differ in the {agreement.name} for"
            f" {int((shares < 1).sum())} of {len(shares)} rows {where} ({mean:.2%} agree);"
            " the graph does not compute what the network does"
        )
    return mean


def max_absolute(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference of two values."""
    return float(differences(actual, expected).max())


def max_relative(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference relative to PyTorch's value, or to ``RELATIVE_FLOOR`` below that."""
    return float(
        (differences(actual, expected) / np.maximum(np.abs(expected), RELATIVE_FLOOR)).max()
    )


def read_results(artifact_dir: Path) -> list[dict[str, Any]]:
    """The comparisons in an artifact's ``parity.json``; see `Comparison`."""
    return json.loads((artifact_dir / PARITY_FILE).read_text())["results"]


def largest_difference(artifact_dir: Path) -> float:
    """The largest absolute difference in an artifact's ``parity.json``."""
    return max(result["max_absolute"] for result in read_results(artifact_dir))


def parity_in_words(artifact_dir: Path) -> str:
    """One line on an artifact's ``parity.json``."""
    results = read_results(artifact_dir)
    batches = ", ".join(sorted({str(result["batch_size"]) for result in results}, key=int))
    providers = ", ".join(sorted({result["provider"] for result in results}))
    return (
        f"ONNX Runtime ({providers}) gives PyTorch's answers in batches of {batches}: largest"
        f" difference {largest_difference(artifact_dir):.1e}, the same answer for"
        f" {min(result['agreement'] for result in results):.1%} of the rows"
    )


def versions() -> dict[str, str]:
    """The versions of the libraries and the machine."""
    return {
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def report(
    results: Sequence[Comparison], tolerance: Tolerance, golden: int, random: int
) -> dict[str, Any]:
    """The content of ``parity.json``; ``golden`` and ``random`` are numbers of rows."""
    return {
        "format_version": 1,
        "tolerance": tolerance.model_dump(),
        "relative_floor": RELATIVE_FLOOR,
        "inputs": {"golden": golden, "random": random, "seed": RANDOM_SEED},
        "versions": versions(),
        "results": [asdict(result) for result in results],
    }
