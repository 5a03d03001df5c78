"""What a server says about its models."""

from dataclasses import dataclass
from enum import StrEnum


class Task(StrEnum):
    """The kind of question a model answers."""

    UNKNOWN = "unknown"
    """Newer than this client."""
    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"
    DETECTION = "detection"
    SEQUENCE = "sequence"
    TENSORS = "tensors"
    """Asked with any client of the Open Inference Protocol, not with this one."""


class State(StrEnum):
    """The life of one version of a model."""

    UNKNOWN = "unknown"
    """Newer than this client."""
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The artifact that made an answer: enough to trace and reproduce it."""

    name: str
    version: int
    """1 and up; never a label."""
    artifact_sha256: str
    """SHA-256 of the artifact's manifest, 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One version of a model: what it is, and whether it is ready."""

    identity: ModelIdentity
    task: Task
    state: State
    reason: str
    """Why it failed, and what to do about it; empty in every other state."""
    architecture: str
    """The network, such as ``resnet18``."""
    labels: tuple[str, ...]
    """Its classes, in the order of its outputs; filled in by ``Client.model`` only."""
    version_labels: tuple[str, ...]
    """The owner's names for this version, such as ``stable``."""
    max_batch_size: int
    devices: tuple[str, ...]
    """Where it is ready, such as ``cpu`` or ``cuda:0``."""
    input_height: int
    """Rows of the network's input, in pixels; 0 for models that do not read images."""
    input_width: int
    """Columns of the network's input, in pixels."""
    input_channels: int
    """1 (grey) or 3 (RGB)."""

    @property
    def is_ready(self) -> bool:
        """Whether it answers requests."""
        return self.state is State.READY
