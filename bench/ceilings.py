"""The parts alone: the bare ONNX Runtime loop, and the bare decoder.

Each is measured in a pinned process of its own, which prints JSON:
``python -m bench.ceilings run MODEL_DIR SECONDS DEVICE`` and
``python -m bench.ceilings decode MODEL_DIR PHOTO SECONDS``.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.processes import BenchError, pinned
from bench.results import BareDecode, BareRun, Photo
from service.artifact.manifest import Manifest, read_manifest
from service.processing.placement import choose_bucket

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_TIMEOUT_S = 300


def bare_runs(artifact_dir: Path, *, seconds: float, cores: str, device: str) -> list[BareRun]:
    """The model alone at every batch size, ``seconds`` each, on one thread."""
    rows = _in_process(cores, "run", str(artifact_dir), str(seconds), device)
    return [BareRun(model=artifact_dir.parent.name, **row) for row in rows]


def bare_decode(artifact_dir: Path, photo: Photo, *, seconds: float, cores: str) -> BareDecode:
    """The decoder alone, from a file's bytes to the row of pixels that the model takes."""
    (row,) = _in_process(cores, "decode", str(artifact_dir), photo.name, str(seconds))
    return BareDecode(model=artifact_dir.parent.name, photo=photo, **row)


def _in_process(cores: str, *arguments: str) -> list[dict[str, Any]]:
    command = pinned(cores, [sys.executable, "-m", "bench.ceilings", *arguments])
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def time_loop(step: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Repeat ``step`` for ``seconds``, at least once, after once for warming up.

    Returns:
        Wall and CPU seconds of one repetition.
    """
    step()
    count, started, cpu_started = 0, time.perf_counter(), time.process_time()
    while count < 1 or time.perf_counter() - started < seconds:
        step()
        count += 1
    return (time.perf_counter() - started) / count, (time.process_time() - cpu_started) / count


def bench_bucket(manifest: Manifest) -> int:
    """The bucket that the 500x375 photograph falls into."""
    assert manifest.preprocessing is not None
    sizes = [manifest.preprocessing.model_copy(update=dict(each)) for each in manifest.shapes]
    return choose_bucket(500, 375, sizes)


def _measure_runs(artifact_dir: Path, seconds: float, device: str) -> list[dict[str, float]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    provider: str | tuple[str, dict[str, str]] = "CPUExecutionProvider"
    if device.startswith("cuda"):
        provider = ("CUDAExecutionProvider", {"device_id": device.partition(":")[2] or "0"})
    session = ort.InferenceSession(artifact_dir / "model.onnx", options, providers=[provider])
    session.disable_fallback()
    if device.startswith("cuda") and session.get_providers()[0] != "CUDAExecutionProvider":
        raise BenchError(f"ONNX Runtime does not use {device}; install onnxruntime-gpu")
    manifest, _ = read_manifest(artifact_dir)
    (tensor,) = manifest.inputs
    outputs = [spec.name for spec in manifest.outputs_of(with_optional=False)]
    how = ort.RunOptions()
    how.only_execute_path_to_fetches = len(outputs) < len(manifest.outputs)
    row = tensor.row_shape(manifest.shapes[bench_bucket(manifest)])
    measured = []
    for size in (each for each in BATCH_SIZES if each <= manifest.batching.max_batch_size):
        pixels = np.random.default_rng(0).integers(256, size=(size, *row)).astype(np.uint8)
        feed = {tensor.name: pixels}
        wall_s, cpu_s = time_loop(lambda feed=feed: session.run(outputs, feed, how), seconds)
        measured.append({"batch_size": size, "items_per_s": size / wall_s, "cpu_s": cpu_s / size})
    return measured


def _measure_decode(artifact_dir: Path, photo: Photo, seconds: float) -> list[dict[str, float]]:
    from bench.photos import photo_12mp, photo_500x375
    from service.frontend.images.decode import ImageLimits, decode_image
    from service.settings import LimitsSettings
    from sightline.v1 import image_pb2

    encoded = photo_500x375() if photo is Photo.JPEG else photo_12mp()
    image = image_pb2.Image(encoded=encoded)
    manifest, _ = read_manifest(artifact_dir)
    bucket = manifest.shapes[bench_bucket(manifest)]
    row = np.zeros(manifest.inputs[0].row_shape(bucket), np.uint8)
    assert manifest.preprocessing is not None
    preprocessing = manifest.preprocessing.model_copy(update=dict(bucket))
    settings = LimitsSettings()
    limits = ImageLimits(
        settings.max_image_bytes, settings.max_image_pixels, settings.max_image_side_px
    )
    wall_s, cpu_s = time_loop(lambda: decode_image(image, preprocessing, row, limits), seconds)
    return [{"images_per_s": 1 / wall_s, "cpu_s": cpu_s}]


def main(what: str, artifact_dir: str, *rest: str) -> None:
    if what == "run":
        measured = _measure_runs(Path(artifact_dir), float(rest[0]), rest[1])
    else:
        measured = _measure_decode(Path(artifact_dir), Photo[rest[0]], float(rest[1]))
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
