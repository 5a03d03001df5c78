"""Artifacts of graphs that tests write themselves, without the exporter."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from service.artifact.manifest import (
    FIXED,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    Batching,
    Bucket,
    Manifest,
    Provenance,
    Tolerance,
    golden_key,
    sha256_of,
)


def save_artifact(
    folder: Path, graph: onnx.ModelProto, golden: Mapping[str, Any], **fields: Any
) -> Path:
    """Write ``folder``, ``repository/name/version``: the model, golden rows and the manifest.

    Args:
        folder: must not exist.
        graph: the model.
        golden: rows by `golden_key`, as from `golden_rows`.
        fields: of the manifest, where they differ from the usual ones.
    """
    folder.mkdir(parents=True)
    onnx.save(graph, folder / MODEL_FILE)
    np.savez(folder / GOLDEN_FILE, **golden)
    (folder / PARITY_FILE).write_text("{}")
    usual: dict[str, Any] = {
        "name": folder.parent.name,
        "version": int(folder.name),
        "batching": Batching(max_batch_size=8),
        "opset_version": 18,
        "tolerance": Tolerance(atol=1e-4, rtol=1e-3),
        "provenance": Provenance(source="tests", created="2026-01-01T00:00:00+00:00"),
        "files": {each.name: sha256_of(each) for each in sorted(folder.iterdir())},
    }
    manifest = Manifest(**usual | fields)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))
    return folder


def golden_rows(
    graph: onnx.ModelProto,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    bucket: Bucket = FIXED,
) -> dict[str, Any]:
    """The inputs and what ONNX Runtime answers to them, by `golden_key`."""
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    answers = dict(zip(outputs, session.run(list(outputs), dict(inputs)), strict=True))
    return {golden_key(name, bucket): rows for name, rows in ({**inputs} | answers).items()}
