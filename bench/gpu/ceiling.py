"""ONNX Runtime alone at batch 32: ``python -m bench.gpu.ceiling NETWORK DEVICE SECONDS``.

The same ``model.onnx`` as the service has, bytes in. On CUDA in four variants: float32 and TF32
with the tensors bound on the device, float32 with the service's own search for convolutions, and
float32 with rows and answers copied for each run.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.ceilings import time_loop
from bench.gpu.parts import print_row
from bench.models import artifact_dir, models_dir
from service.artifact.manifest import MODEL_FILE, Manifest, read_manifest
from service.devices import Device
from service.worker.runners import CpuRunner, CudaRunner
from service.worker.session import ort

BATCH_SIZE = 32
# Name -> TF32, and how cuDNN's algorithm is chosen.
VARIANTS = {
    "float32": ("0", "EXHAUSTIVE"),
    "float32, the service's search": ("0", "HEURISTIC"),
    "TF32": ("1", "EXHAUSTIVE"),
}


def measure(folder: Path, device: Device, seconds: float) -> None:
    """Print a row for each variant."""
    manifest, _ = read_manifest(folder)
    size = min(BATCH_SIZE, manifest.batching.max_batch_size)
    (tensor,) = manifest.inputs
    shape = (size, *tensor.row_shape(manifest.shapes[0]))
    rows = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    if device.kind == "cpu":
        _print_rate("float32", _open(folder, device, "0", "HEURISTIC"), manifest, rows, seconds)
        return
    for variant, (tf32, search) in VARIANTS.items():
        session = _open(folder, device, tf32, search)
        _print_bound_rate(variant, session, device, manifest, rows, seconds)
        if variant == "float32":
            runner = CudaRunner(session, manifest, device, size)
            wall_s, _ = time_loop(lambda each=runner: each([rows], size, None, False), seconds)
            print_row(variant="float32, with copies", batch_size=size, images_per_s=size / wall_s)


def _print_rate(variant: str, session: Any, manifest: Manifest, rows: Any, seconds: float) -> None:
    runner, size = CpuRunner(session, manifest), len(rows)
    wall_s, _ = time_loop(lambda: runner([rows], size, None, False), seconds)
    print_row(variant=variant, batch_size=size, images_per_s=size / wall_s)


def _print_bound_rate(
    variant: str, session: Any, device: Device, manifest: Manifest, rows: Any, seconds: float
) -> None:
    """Tensors stay on the device; a run ends when the device has finished."""
    binding: Any = session.io_binding()
    value = ort.OrtValue.ortvalue_from_numpy(rows, "cuda", device.index)
    binding.bind_ortvalue_input(manifest.inputs[0].name, value)
    for spec in manifest.outputs_of(with_optional=False):
        binding.bind_output(spec.name, "cuda", device.index)
    wall_s, _ = time_loop(lambda: session.run_with_iobinding(binding), seconds)
    print_row(variant=variant, batch_size=len(rows), images_per_s=len(rows) / wall_s)


def _open(folder: Path, device: Device, tf32: str, search: str) -> Any:
    options: Any = ort.SessionOptions()
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.kind == "cuda":
        ort.preload_dlls()
        cuda = {"device_id": str(device.index), "use_tf32": tf32, "cudnn_conv_algo_search": search}
        providers = [("CUDAExecutionProvider", cuda)]
    path = str(folder / MODEL_FILE)
    session: Any = ort.InferenceSession(path, options, providers=providers, enable_fallback=0)
    if device.kind == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise RuntimeError("ONNX Runtime does not use CUDA; see its warnings above")
    return session


def main(network: str, device: str, seconds: float) -> None:
    folder = artifact_dir(models_dir((network,)), network)
    measure(folder, Device.parse(device), seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
