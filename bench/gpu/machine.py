"""Which GPU and which versions; and whether there is a GPU at all."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from bench.gpu.results import Device

PACKAGES = (
    *("onnxruntime-gpu", "onnxruntime", "torch", "onnx", "numpy", "grpcio", "protobuf"),
    *("opencv-python-headless", "opencv-contrib-python-headless", "nvidia-cudnn-cu13"),
)
_QUERY_S = 20


def reason_to_skip(device: str) -> str:
    """Why this machine cannot be checked; empty if it can."""
    if device == "cpu":
        return ""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU"
    if not list(Path("/dev").glob("nvidia[0-9]*")) and not _smi("--list-gpus"):
        return "this machine has no NVIDIA GPU"
    return ""


def describe_device(device: str) -> Device:
    """The device and the versions of what runs on it."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    query = "name,driver_version,memory.total"
    gpu = "" if device == "cpu" else _smi(f"--query-gpu={query}", "--format=csv,noheader")
    return Device(name=device, gpu=gpu, cores=len(os.sched_getaffinity(0)), versions=versions)


def split_cores() -> tuple[str, str]:
    """The cores of the server and those of the load generator, as taskset takes them."""
    cores = sorted(os.sched_getaffinity(0))
    count = max(1, min(4, len(cores) // 4))
    server, load = (cores[:-count], cores[-count:]) if len(cores) > 1 else (cores, cores)
    return ",".join(map(str, server)), ",".join(map(str, load))


def _smi(*arguments: str) -> str:
    """What nvidia-smi prints; nothing if it is missing or fails."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=_QUERY_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
