"""The specification of an artifact: its tensors, its golden rows, and its metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel

from export.artifact.parity import Agreement
from export.artifact.tolerances import DEFAULT_TOLERANCE
from export.opset import OPSET_VERSION
from service.artifact.manifest import (
    FIXED,
    Bucket,
    ImagePreprocessing,
    Task,
    TensorSpec,
    Tolerance,
)

Rows = Mapping[str, NDArray[Any]]
"""Input name -> ``[N, ...]``."""


@dataclass(frozen=True)
class Origin:
    """Where a network's weights come from, as far as it is known."""

    source: str = ""
    """Such as ``resnet18`` or ``package.module:callable``."""
    weights_sha256: str = ""
    data: str = ""
    licence: str = ""
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Scores on held-out data, such as ``{"top1": 0.91}``."""


@dataclass(frozen=True)
class ArtifactSpec:
    """The specification of an artifact, beside the module itself."""

    name: str
    task: Task
    inputs: tuple[TensorSpec, ...]
    """In the order of the module's parameters."""
    outputs: tuple[TensorSpec, ...]
    """In the order of the module's results."""
    golden: tuple[Rows, ...]
    """Real inputs, for each bucket; they are stored with PyTorch's answers."""
    probes: tuple[Rows, ...]
    """Random inputs, for each bucket; PyTorch and ONNX Runtime must agree on them, too."""
    agreement: Agreement
    """The task's answer, and the share of the rows in which it must be the same."""
    buckets: tuple[Bucket, ...] = ()
    """Sizes of the named axes; empty: only the batch varies."""
    labels: tuple[str, ...] = ()
    preprocessing: ImagePreprocessing | None = None
    section: BaseModel | None = None
    """The manifest's section of this task."""
    architecture: str = ""
    origin: Origin = field(default_factory=Origin)
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Scores on held-out data, in addition to the origin's."""
    version: int | None = None
    """None: one more than the newest version."""
    max_batch_size: int = 32
    tolerance: Tolerance = DEFAULT_TOLERANCE
    opset_version: int = OPSET_VERSION

    @property
    def shapes(self) -> tuple[Bucket, ...]:
        """The buckets; without any, `FIXED` alone."""
        return self.buckets or (FIXED,)
