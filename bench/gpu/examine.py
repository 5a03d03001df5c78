"""Load and replay artifacts: ``python -m bench.gpu.examine REPOSITORY DEVICE NAME ...``.

For each one a line: whether the worker's own session takes it, where the nodes lie if ONNX Runtime
may fall back to the CPU, and how far the golden rows are off.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.gpu.parts import Clock, Outcome, print_row, run_part
from bench.gpu.results import Artifact
from service.artifact.manifest import MODEL_FILE, ArtifactError, Manifest, read_manifest
from service.devices import Device
from service.worker.golden import replay_golden
from service.worker.runners import CpuRunner
from service.worker.session import ModelSession, SessionOptions, ort

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class FallbackSession:
    """As much of a `ModelSession` as the replay needs, with nodes on the CPU allowed."""

    manifest: Manifest
    max_batch_size: int
    runner: CpuRunner

    def run(self, inputs: Any, rows: int, *, with_optional: bool) -> list[Any]:
        """As `ModelSession.run`."""
        return self.runner(inputs, rows, None, with_optional)


def examine_all(
    names: list[str], repository: Path, device: str, seconds: float
) -> tuple[list[Artifact], Outcome]:
    """All artifacts in one process; after a crash another one goes on with the next.

    Returns:
        One finding for each name, and the last process's outcome.
    """
    clock, started = Clock(seconds), time.monotonic()
    found: list[Artifact] = []
    while True:
        left = names[len(found) :]
        outcome = run_part(
            "bench.gpu.examine", [str(repository), device, *left], clock.at_most(seconds)
        )
        found += [Artifact.model_validate(row) for row in outcome.rows]
        if len(found) >= len(names):
            return found, Outcome([], "", time.monotonic() - started)
        stuck = names[len(found)]
        found.append(Artifact(name=stuck, exported=True, error=outcome.error or "no finding"))
        if clock.at_most(seconds) <= 1 or len(found) == len(names):
            rest = names[len(found) :]
            found += [Artifact(name=each, exported=True, error="no time left") for each in rest]
            return found, Outcome([], outcome.error, time.monotonic() - started)


def examine(artifact_dir: Path, device: Device) -> Artifact:
    """Everything about one artifact; a fault of its is part of the finding."""
    started = time.monotonic()
    manifest, _ = read_manifest(artifact_dir)
    finding: dict[str, Any] = {"name": manifest.name, "exported": True}
    session: Any = None
    try:
        session = ModelSession(artifact_dir, manifest, SessionOptions(device))
        finding["is_loaded"] = True
    except Exception as err:  # ONNX Runtime raises many types without a common base
        finding["error"] = f"refused: {_short(err)}"
    try:
        bare = open_with_fallback(artifact_dir / MODEL_FILE, device)
        finding["placement"], finding["elsewhere"] = where_nodes_lie(
            bare.get_provider_graph_assignment_info(), PROVIDERS[device.kind]
        )
        if session is None:
            finding["replayed_with_fallback"] = True
            session = FallbackSession(
                manifest, manifest.batching.max_batch_size, CpuRunner(bare, manifest)
            )
        report = replay_golden(cast(ModelSession, session), artifact_dir)
        finding |= {"is_right": True, "worst": report.max_absolute, "relative": report.max_relative}
    except Exception as err:  # as above
        before = finding.get("error", "")
        finding["error"] = f"{before}{'; ' if before else ''}{_short(err)}"
    return Artifact(**finding, seconds=time.monotonic() - started)


def open_with_fallback(model: Path, device: Device) -> Any:
    """A session that may put nodes on the CPU, as ONNX Runtime does by default."""
    options: Any = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.kind == "cuda":
        ort.preload_dlls()
        cuda = {"device_id": str(device.index), "use_tf32": "0"}
        providers.insert(0, ("CUDAExecutionProvider", cuda))
    return ort.InferenceSession(str(model), options, providers=providers, enable_fallback=0)


def where_nodes_lie(subgraphs: Any, wanted: str) -> tuple[dict[str, int], dict[str, int]]:
    """Nodes by provider, and those of other providers than ``wanted`` by operator."""
    placement: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for subgraph in subgraphs:
        nodes = subgraph.get_nodes()
        placement[subgraph.ep_name] += len(nodes)
        if subgraph.ep_name != wanted:
            elsewhere.update(node.op_type for node in nodes)
    return dict(placement), dict(elsewhere.most_common())


def _short(err: Exception) -> str:
    text = " ".join(str(err).split())
    kind = "" if isinstance(err, ArtifactError) else f"{type(err).__name__}: "
    return f"{kind}{text[:400]}"


def main(repository: Path, device: str, names: list[str]) -> None:
    for name in names:
        print_row(**examine(repository / name / "1", Device.parse(device)).model_dump())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
