"""Golden answers of an adopted graph: it has no PyTorch side, so its own answers are recorded.

The graph must first show that its answers can be relied on. Two runs agree, a row's answer does not
depend on the other rows of its batch, and every declared size runs.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from export.adoption.graph_runner import Arrays, check_answers, run
from export.artifact.parity import BATCH_SIZES, max_absolute, max_relative, versions
from export.artifact.spec import Rows
from export.artifact.tolerances import is_within
from export.errors import AdoptionError
from service.artifact.manifest import PARITY_FILE, Bucket, TensorSpec, Tolerance


class Recorder:
    """Runs a finished graph and keeps the comparisons for ``parity.json``."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        outputs: Sequence[TensorSpec],
        tolerance: Tolerance,
        max_batch_size: int,
    ) -> None:
        self._session = session
        self._outputs = outputs
        self._tolerance = tolerance
        self._batch_sizes = [size for size in BATCH_SIZES if size <= max_batch_size]
        self._results: list[dict[str, Any]] = []

    def record(self, golden: Rows, probes: Rows, bucket: Bucket) -> Arrays:
        """The answers for the golden rows, once they have proved reliable.

        Raises:
            AdoptionError: the answers are not finite, have other shapes than declared, differ from
                run to run, or depend on the batch.
        """
        rows = {name: np.concatenate([golden[name], probes[name]]) for name in golden}
        alone = self._in_batches(rows, 1)
        check_answers([spec.name for spec in self._outputs], alone)
        self._check_shapes(alone, bucket)
        for size in self._batch_sizes:
            again = self._in_batches(rows, size)
            self._check_close(again, alone, size)
            self._results.append(
                {
                    "provider": "CPUExecutionProvider",
                    "bucket": dict(bucket),
                    "batch_size": size,
                    "rows": len(alone[0]),
                    "max_absolute": max(map(max_absolute, again, alone)),
                    "max_relative": max(map(max_relative, again, alone)),
                }
            )
        count = len(next(iter(golden.values())))
        return [output[:count] for output in alone]

    def write_parity(self, folder: Path) -> None:
        """Write ``parity.json``: what the golden answers were compared with."""
        content = {
            "format_version": 1,
            "golden": "recorded",
            "comment": "Adopted without a PyTorch side: ONNX Runtime's answers, compared with"
            " its own in a second run and in other batches.",
            "tolerance": self._tolerance.model_dump(),
            "versions": versions(),
            "results": self._results,
        }
        (folder / PARITY_FILE).write_text(json.dumps(content, indent=2) + "\n")

    def _in_batches(self, rows: Rows, size: int) -> Arrays:
        count = len(next(iter(rows.values())))
        parts: list[list[Any]] = []
        for start in range(0, count, size):
            chosen = np.arange(start, start + size) % count
            outputs = self._run_batch({name: array[chosen] for name, array in rows.items()}, size)
            for spec, output in zip(self._outputs, outputs, strict=True):
                if output.shape[:1] != (size,):
                    raise AdoptionError(
                        f"{size} rows came back as {spec.name} {list(output.shape)}, so the first"
                        " axis is not the batch; export the graph with a free batch axis, or adopt"
                        " it with --max-batch-size 1"
                    )
            parts.append([output[: min(size, count - start)] for output in outputs])
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def _run_batch(self, feeds: Rows, size: int) -> Arrays:
        try:
            return run(self._session, feeds)
        except AdoptionError as err:
            if size == 1:
                raise
            raise AdoptionError(
                f"{err}; export the graph with a free batch axis, or adopt it with"
                " --max-batch-size 1"
            ) from err

    def _check_shapes(self, outputs: Arrays, bucket: Bucket) -> None:
        for spec, output in zip(self._outputs, outputs, strict=True):
            actual, wanted = (str(output.dtype), output.shape[1:]), spec.row_shape(bucket)
            if actual != (spec.dtype, wanted):
                raise AdoptionError(
                    f"the graph answers {spec.name} {list(actual[1])} at {dict(bucket)}, not"
                    f" {list(wanted)}; export it with the axes that it declares"
                )

    def _check_close(self, actual: Arrays, expected: Arrays, size: int) -> None:
        for spec, ours, theirs in zip(self._outputs, actual, expected, strict=True):
            if not is_within(ours, theirs, self._tolerance):
                reason = (
                    "two runs of the same rows differ; look for dropout or other randomness"
                    if size == 1
                    else f"rows answer differently in a batch of {size} than alone; adopt it with"
                    " --max-batch-size 1"
                )
                raise AdoptionError(
                    f"{spec.name} differs by up to {max_absolute(ours, theirs):.2g} in a second"
                    f" run: {reason}"
                )
