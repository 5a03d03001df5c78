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

from export.errors import ParityError
from service.manifest import PARITY_FILE, Tolerance

BATCH_SIZES = (1, 3, 8)
RELATIVE_FLOOR = 1e-6
"""Scores below it are counted as this large in relative differences."""

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Comparison:
    """PyTorch against one provider, over all inputs, at one batch size."""

    provider: str
    precision: str
    row_shape: tuple[int, ...]
    batch_size: int
    rows: int
    max_absolute: float
    max_relative: float
    top1_agreement: float
    """Share of rows, in 0..1, where both have the same best label."""


def open_session(
    path: Path, provider: str = "CPUExecutionProvider"
) -> onnxruntime.InferenceSession:
    """Open a graph on exactly one provider, which must take it.

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
    reference: Run, path: Path, inputs: NDArray[np.uint8], tolerance: Tolerance, provider: str
) -> list[Comparison]:
    """Run every input through both, at each of ``BATCH_SIZES``.

    Args:
        reference: PyTorch, ``[N, H, W, C] -> [N, num_classes]``.
        path: the graph.
        inputs: ``[M, H, W, C]``, golden rows and random ones.
        tolerance: how far ONNX Runtime may be off.
        provider: where ONNX Runtime runs.

    Raises:
        ParityError: they differ by more, a score is not finite, shapes or dtypes differ, or an
            answer depends on the other images of its batch.
    """
    session = open_session(path, provider)
    alone = in_batches(reference, inputs, 1)
    check_finite("PyTorch", alone)
    results: list[Comparison] = []
    for batch_size in BATCH_SIZES:
        expected = in_batches(reference, inputs, batch_size)
        where = f"in batches of {batch_size}"
        check_close("PyTorch", expected, "PyTorch one by one", alone, tolerance, where)
        actual = in_batches(lambda batch: run_session(session, batch), inputs, batch_size)
        check_close("ONNX Runtime", actual, "PyTorch", expected, tolerance, where)
        check_top1(actual, expected, tolerance, where)
        results.append(
            Comparison(
                provider=provider,
                precision="float32",
                row_shape=inputs.shape[1:],
                batch_size=batch_size,
                rows=len(inputs),
                max_absolute=max_absolute(actual, expected),
                max_relative=max_relative(actual, expected),
                top1_agreement=float(np.mean(actual.argmax(1) == expected.argmax(1))),
            )
        )
    return results


def run_session(
    session: onnxruntime.InferenceSession, batch: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """The scores of one batch.

    Raises:
        ParityError: the graph does not run on a batch of this size.
    """
    try:
        (scores,) = session.run(None, {session.get_inputs()[0].name: batch})
    except Exception as err:  # its exceptions have no common base but this
        raise ParityError(
            f"ONNX Runtime fails on a batch of {len(batch)}, so the batch axis is frozen somewhere"
            f" in the graph: {err}"
        ) from err
    return np.asarray(scores)


def in_batches(run: Run, inputs: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
    """Run all rows in batches of ``batch_size``; the last one is filled up from the start."""
    rows = len(inputs)
    indices = np.arange(-(-rows // batch_size) * batch_size) % rows
    outputs = [run(inputs[part]) for part in indices.reshape(-1, batch_size)]
    for output in outputs:
        if output.shape[:1] != (batch_size,):
            raise ParityError(
                f"a batch of {batch_size} images came back as {list(output.shape)}: the batch"
                " axis is frozen"
            )
    return np.concatenate(outputs)[:rows]


def check_finite(name: str, scores: NDArray[np.float32]) -> None:
    """Refuse NaN and infinity."""
    if not np.isfinite(scores).all():
        raise ParityError(f"{name} answers a golden or random image with NaN or infinity")


def check_close(
    name: str,
    actual: NDArray[np.float32],
    reference_name: str,
    expected: NDArray[np.float32],
    tolerance: Tolerance,
    where: str,
) -> None:
    """Refuse scores of another shape, another dtype, or beyond the tolerance."""
    if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
        raise ParityError(
            f"{name} answers with {actual.dtype}{list(actual.shape)}, {reference_name} with"
            f" {expected.dtype}{list(expected.shape)} ({where})"
        )
    check_finite(name, actual)
    excess = np.abs(actual - expected) - (tolerance.atol + tolerance.rtol * np.abs(expected))
    if excess.max() > 0:
        raise ParityError(
            f"{name} and {reference_name} differ by {max_absolute(actual, expected):.2g} {where}"
            f" (allowed: {tolerance.atol:g} + {tolerance.rtol:g} of the score);"
            " look for randomness, for state, and for answers that depend on the other images of"
            " the batch"
        )


def check_top1(
    actual: NDArray[np.float32], expected: NDArray[np.float32], tolerance: Tolerance, where: str
) -> None:
    """Refuse another best label, unless PyTorch scores both alike, within ``rtol``."""
    best = expected.max(axis=1)
    chosen = np.take_along_axis(expected, actual.argmax(axis=1)[:, None], axis=1)[:, 0]
    if wrong := int(np.sum(chosen < best * (1 - tolerance.rtol))):
        raise ParityError(
            f"ONNX Runtime and PyTorch name different labels for {wrong} of {len(expected)} images"
            f" {where}, so the graph is not the network"
        )


def max_absolute(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference of two scores."""
    return float(np.abs(actual - expected).max())


def max_relative(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference relative to PyTorch's score, or to ``RELATIVE_FLOOR`` below that."""
    return float((np.abs(actual - expected) / np.maximum(np.abs(expected), RELATIVE_FLOOR)).max())


def parity_in_words(artifact_dir: Path) -> str:
    """One line on an artifact's ``parity.json``."""
    results = json.loads((artifact_dir / PARITY_FILE).read_text())["results"]
    batches = ", ".join(sorted({str(result["batch_size"]) for result in results}, key=int))
    providers = ", ".join(sorted({result["provider"] for result in results}))
    return (
        f"ONNX Runtime ({providers}) gives PyTorch's scores in batches of {batches}: largest"
        f" difference {max(result['max_absolute'] for result in results):.1e}, same best label for"
        f" {min(result['top1_agreement'] for result in results):.1%} of the images"
    )


def versions() -> dict[str, str]:
    """Versions of all that took part."""
    return {
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def report(
    results: Sequence[Comparison],
    tolerance: Tolerance,
    golden_rows: int,
    random_rows: int,
    seed: int,
) -> dict[str, Any]:
    """The content of ``parity.json``."""
    return {
        "format_version": 1,
        "tolerance": tolerance.model_dump(),
        "relative_floor": RELATIVE_FLOOR,
        "inputs": {"golden": golden_rows, "random": random_rows, "seed": seed},
        "versions": versions(),
        "results": [asdict(result) for result in results],
    }
