"""The findings of ``bench/gpu_check.py``, in the form that is kept."""

from pydantic import BaseModel


class _Frozen(BaseModel, frozen=True, extra="forbid"):
    """What was found is not changed."""


class Device(_Frozen, frozen=True):
    """The device, and the versions of what runs on it."""

    name: str
    gpu: str = ""
    """Name, driver and memory by nvidia-smi."""
    cores: int
    versions: dict[str, str]


class Artifact(_Frozen, frozen=True):
    """One shipped model on the device."""

    name: str
    exported: bool = False
    is_loaded: bool = False
    """Whether the worker's own session takes it."""
    placement: dict[str, int] = {}
    """Nodes by provider, with ONNX Runtime's fallback to the CPU allowed."""
    elsewhere: dict[str, int] = {}
    """Nodes that are not on the device, by operator."""
    is_right: bool = False
    """Whether the golden rows reproduce within the manifest's tolerance."""
    worst: float | None = None
    """The largest absolute difference of the replay, if it passed."""
    relative: float | None = None
    replayed_with_fallback: bool = False
    """The worker refused the graph; it was replayed with nodes on the CPU."""
    seconds: float = 0.0
    error: str = ""

    @property
    def passes(self) -> bool:
        """Whether the service can serve it here."""
        return self.is_loaded and self.is_right


class Ceiling(_Frozen, frozen=True):
    """ONNX Runtime alone, rows and answers on the device or copied for each run."""

    variant: str
    batch_size: int
    images_per_s: float


class Load(_Frozen, frozen=True):
    """The service under one load of raw pixels."""

    items: int
    in_flight: int
    images_per_s: float
    p50_s: float
    p99_s: float
    load_share: float
    """Share of its core that the load generator used."""
    utilisation: float | None = None
    """Percent of the GPU's time in which a kernel ran; mean over the load."""
    memory_mib: float | None = None
    power_w: float | None = None


class Kill(_Frozen, frozen=True):
    """``kill -9`` of the only worker under load."""

    answered: int
    failed: dict[str, int]
    recovery_s: float | None
    """From the kill until a new worker answers; None if none did in time."""


class Part(_Frozen, frozen=True):
    """One part of the check: its time, and its failure if it has one."""

    name: str
    seconds: float
    error: str = ""


class GpuCheck(_Frozen, frozen=True):
    """A whole check."""

    device: Device
    network: str
    artifacts: tuple[Artifact, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    loads: tuple[Load, ...] = ()
    kill: Kill | None = None
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> list[str]:
        """Everything that keeps the check from passing, in words."""
        found = [f"{part.name}: {part.error}" for part in self.parts if part.error]
        found += [f"{each.name}: {each.error}" for each in self.artifacts if not each.passes]
        if self.kill is not None and self.kill.recovery_s is None:
            found.append("kill -9: no new worker answered in time")
        if self.kill is not None and self.kill.failed:
            found.append(f"kill -9: calls failed, {self.kill.failed}")
        return found
