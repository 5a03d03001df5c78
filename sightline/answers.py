"""What a user gets back: plain frozen data, no protobuf.

Here is what all tasks share, and the labels of a photo; ``segmentations``, ``detections`` and
``continuations`` hold the others'.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from grpc import StatusCode

from sightline.errors import SightlineError


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
class Timing:
    """Where the request that held an answer spent its time on the server, and how it was run."""

    decode_s: float
    queue_s: float
    run_s: float
    total_s: float
    batch_size: int
    """Items of all callers that ran together with it."""
    device: str
    """Such as ``cpu`` or ``cuda:0``."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class, and how sure the model is."""

    name: str
    index: int
    """Its place in the model's output."""
    score: float
    """In 0..1; over all classes the scores sum to 1."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What one photo shows."""

    labels: tuple[Label, ...]
    """Best first."""
    model: ModelIdentity
    timing: Timing

    @property
    def best(self) -> Label:
        """The likeliest label.

        Raises:
            LookupError: no label reached the ``score_threshold`` that was asked for.
        """
        if not self.labels:
            raise LookupError("no label reached the score_threshold: look at `labels` first")
        return self.labels[0]


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """Why one photo, or history, of many has no answer, while its neighbours may have theirs."""

    error: SightlineError
    """What would have been raised had it been asked about alone."""

    @property
    def code(self) -> StatusCode:
        """The gRPC status."""
        return self.error.code

    @property
    def message(self) -> str:
        """A sentence that says what to do about it."""
        return str(self.error)


Answer = TypeVar("Answer")
Outcome = Answer | ItemFailed
"""What becomes of one of many: its answer, such as in ``Outcome[Classification]``, or why not."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One version of a model: what it is, and whether it can be asked."""

    identity: ModelIdentity
    task: Task
    state: State
    reason: str
    """For a failed one: what is wrong and what to do."""
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
    """Rows the network sees, in pixels; 0 for models that do not read pictures."""
    input_width: int
    """Columns the network sees, in pixels."""
    input_channels: int
    """1 (grey) or 3 (RGB)."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked."""
        return self.state is State.READY
