"""Which devices exist, and how many cores this process may use."""

import os
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from service.settings import SettingsError

_DEVICE = re.compile(r"cpu|cuda:(\d+)")


@dataclass(frozen=True, slots=True)
class Device:
    """Where a worker runs its models."""

    kind: str  # "cpu" or "cuda"
    index: int = 0

    @classmethod
    def parse(cls, name: str) -> "Device":
        """Read ``cpu`` or ``cuda:N``.

        Raises:
            SettingsError: it is neither.
        """
        match = _DEVICE.fullmatch(name.strip())
        if match is None:
            raise SettingsError(f"workers.devices: {name!r} is neither auto, cpu nor cuda:N")
        return cls("cuda", int(match[1])) if match[1] else cls("cpu")

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"


def resolve_devices(setting: str) -> list[Device]:
    """The devices that ``workers.devices`` names; ``auto``: every CUDA device, or else the CPU.

    Raises:
        SettingsError: CUDA is asked for, but the installed ONNX Runtime or the machine has none.
    """
    if setting.strip() == "auto":
        found = _cuda_devices() if _has_cuda_runtime() else []
        return found or [Device("cpu")]
    devices = [Device.parse(name) for name in setting.split(",")]
    if any(device.kind == "cuda" for device in devices) and not _has_cuda_runtime():
        raise SettingsError(
            f"workers.devices is {setting!r}, but onnxruntime-gpu is not installed:"
            " pip uninstall onnxruntime, then pip install 'sightline-server[gpu]'"
        )
    if len(set(devices)) != len(devices):
        raise SettingsError(
            f"workers.devices names a device twice; see workers.per_device: {setting!r}"
        )
    return devices


def _has_cuda_runtime() -> bool:
    # The package's metadata tells, because the supervisor never loads ONNX Runtime itself.
    try:
        metadata.version("onnxruntime-gpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def _cuda_devices() -> list[Device]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    else:
        count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return [Device("cuda", index) for index in range(count)]


def use_batch_scheduling() -> None:
    """Set SCHED_BATCH: a thread that wakes up does not interrupt the thread that runs.

    A thread that wakes another one holds Python's lock. If it were interrupted at once, the other
    thread would find the lock taken and sleep again. A worker that shares a core with a frontend
    also lets the frontend finish sending, so that the next request can join the batch. On an idle
    core a thread starts as fast as before. docs/adr/0004-threaded-frontends.md has the measurement.
    """
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def available_cores() -> int:
    """Cores this process may use: the smaller of its CPU set and its cgroup's quota."""
    return max(1, min(len(os.sched_getaffinity(0)), _cgroup_quota(Path("/sys/fs/cgroup"))))


def _cgroup_quota(root: Path) -> int:
    """Whole cores of the cgroup's quota (v2, else v1); the machine's cores without a quota."""
    unlimited = os.cpu_count() or 1
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except OSError:
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return unlimited
    if quota in ("max", "-1"):
        return unlimited
    return max(1, int(quota) // int(period))
