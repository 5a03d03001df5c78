"""One model on one device: the session, its buffers, and the checks of its graph."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from service.artifact.manifest import (
    MODEL_FILE,
    ArtifactError,
    Manifest,
    check_files,
)
from service.devices import Device
from service.settings import Settings
from service.worker.node_placement import CPU_PROVIDER, refused_nodes
from service.worker.runners import Array, CpuRunner, CudaRunner, Runner

ort: Any = onnxruntime  # it has no types to check against


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session is created."""

    device: Device
    intra_op_threads: int = 1
    max_batch_size: int = 64  # an upper limit on the manifest's
    cuda_tf32: bool = False
    cuda_memory_bytes: int = 0  # 0: no limit

    @classmethod
    def of(cls, settings: Settings, device: Device, intra_op_threads: int) -> "SessionOptions":
        """What a worker of this device and this number of threads uses."""
        return cls(
            device,
            intra_op_threads,
            max_batch_size=settings.batching.max_batch_size,
            cuda_tf32=settings.workers.cuda_tf32,
            cuda_memory_bytes=settings.workers.cuda_memory_bytes,
        )


class DeviceLost(Exception):
    """The device cannot run anything any more; only a new process can."""


class ModelSession:
    """Runs batches of one artifact. One thread creates it, warms it up and runs it.

    Raises:
        ArtifactError: a file has changed; or the graph does not load, does not run wholly on the
            device, or has other tensors than the manifest.
    """

    def __init__(self, artifact_dir: Path, manifest: Manifest, options: SessionOptions) -> None:
        check_files(artifact_dir, manifest)
        self.manifest = manifest
        self.device = options.device
        self.max_batch_size = min(manifest.batching.max_batch_size, options.max_batch_size)
        self._session = _create_session(artifact_dir / MODEL_FILE, options)
        self.placement = _check_placement(self._session, options.device)
        _check_tensors(self._session, manifest)
        self._staging: dict[int, list[Array]] = {}
        self._probe: list[Array] = []
        self._run: Runner = (
            CpuRunner(self._session, manifest)
            if options.device.kind == "cpu"
            else CudaRunner(self._session, manifest, options.device, self.max_batch_size)
        )

    def staging(self, bucket: int = 0) -> list[Array]:
        """Buffers to gather rows of several requests: ``[max_batch_size, ...]`` for each input.

        Args:
            bucket: which of the manifest's ``shapes``; each has its own, created at first use.
        """
        if bucket not in self._staging:
            shape = self.manifest.shapes[bucket]
            self._staging[bucket] = [
                np.zeros((self.max_batch_size, *spec.row_shape(shape)), spec.dtype)
                for spec in self.manifest.inputs
            ]
        return self._staging[bucket]

    def run(
        self,
        inputs: Sequence[Array],
        rows: int,
        run_options: Any = None,
        *,
        with_optional: bool = False,
    ) -> list[Array]:
        """Run the first ``rows`` rows of ``inputs``, 1..max_batch_size.

        Args:
            inputs: one array for each input, of one bucket's shapes.
            rows: how many of their rows to run.
            run_options: of ONNX Runtime.
            with_optional: compute also the outputs that are made on request.

        Returns:
            One ``[rows, ...]`` array for each output; on CUDA valid until the next run.
        """
        return self._run(inputs, rows, run_options, with_optional)

    def check_device(self) -> None:
        """After a failed run, run a row that succeeded when the model was loaded.

        Raises:
            DeviceLost: it fails now. After most errors CUDA is unusable until the process ends.
        """
        try:
            self.run(self._probe, 1)
        except Exception as err:
            raise DeviceLost(f"{self.device} fails on what it could run before: {err}") from err

    def trim_memory(self) -> None:
        """Free the memory that only the largest runs need; by itself an arena never shrinks.

        After the golden replay, which runs every bucket at the largest batch size, this is most of
        the memory.
        """
        where = "cpu:0" if self.device.kind == "cpu" else f"gpu:{self.device.index}"
        run_options: Any = ort.RunOptions()
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", where)
        self._probe = [array[:1].copy() for array in self.staging()]
        self.run(self._probe, 1, run_options)

    def calibrate(self, budget_s: float, clock: Callable[[], float] = time.perf_counter) -> int:
        """Find the smallest batch size whose time for each row is within 5 % of the best one's.

        A larger batch is not always better: on a CPU its activations may not fit the caches.

        Args:
            budget_s: after this many seconds no further size is tried.
            clock: in seconds.

        Returns:
            The largest batch size to form, 1..max_batch_size.
        """
        started = clock()
        row_s: dict[int, float] = {}
        size = 1
        while size <= self.max_batch_size:
            times: list[float] = []
            while len(times) < 8 and (len(times) < 2 or clock() - started < budget_s):
                before = clock()
                self.run(self.staging(), size)
                times.append(clock() - before)
            row_s[size] = min(times) / size
            if clock() - started >= budget_s:
                break
            size = self.max_batch_size if size < self.max_batch_size < 2 * size else 2 * size
        best = min(row_s.values())
        return next(size for size, seconds in row_s.items() if seconds <= 1.05 * best)


def _create_session(model_path: Path, options: SessionOptions) -> Any:
    settings: Any = ort.SessionOptions()
    settings.log_severity_level = 3
    # On a GPU the threads of a session only wait; spinning threads would use a frontend's core.
    settings.intra_op_num_threads = options.intra_op_threads if options.device.kind == "cpu" else 1
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers: list[Any] = ["CPUExecutionProvider"]
    if options.device.kind == "cuda":
        settings.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        ort.preload_dlls()
        cuda: dict[str, str] = {
            "device_id": str(options.device.index),
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": str(int(options.cuda_tf32)),
        }
        if options.cuda_memory_bytes:
            cuda["gpu_mem_limit"] = str(options.cuda_memory_bytes)
        providers = [("CUDAExecutionProvider", cuda)]
    try:
        return ort.InferenceSession(
            str(model_path), settings, providers=providers, enable_fallback=0
        )
    except Exception as err:  # ONNX Runtime raises many types without a common base
        raise ArtifactError(
            f"ONNX Runtime cannot load {model_path} on {options.device}: {err}"
        ) from err


def _check_placement(session: Any, device: Device) -> dict[str, int]:
    """Count the graph's nodes by provider; all but shape computations must be on the wanted one.

    A graph that does not fit the device is an error here, not a slow run on the CPU.
    """
    groups = [
        (subgraph.ep_name, [node.op_type for node in subgraph.get_nodes()])
        for subgraph in session.get_provider_graph_assignment_info()
    ]
    wanted = CPU_PROVIDER if device.kind == "cpu" else "CUDAExecutionProvider"
    refused = refused_nodes(groups, wanted)
    if refused or wanted not in session.get_providers():
        raise ArtifactError(
            f"not all of the graph runs on {device}: {dict(refused) or session.get_providers()};"
            " serve it with --devices cpu, or export it without those operators"
        )
    placement: Counter[str] = Counter()
    for provider, operators in groups:
        placement[provider] += len(operators)
    return dict(placement)


def _check_tensors(session: Any, manifest: Manifest) -> None:
    """Check that the graph has the inputs and outputs of the manifest."""
    for kind, specs, nodes in (
        ("input", manifest.inputs, session.get_inputs()),
        ("output", manifest.outputs, session.get_outputs()),
    ):
        actual = {node.name: (node.type, len(node.shape)) for node in nodes}
        for spec in specs:
            dtype = {"float32": "float", "float16": "float16"}.get(spec.dtype, spec.dtype)
            if actual.get(spec.name) != (f"tensor({dtype})", len(spec.axes)):
                raise ArtifactError(
                    f"the graph has the {kind}s {actual}, the manifest says {spec.name!r} is"
                    f" {spec.dtype} with {len(spec.axes)} axes; export the model again"
                )
