"""What an artifact shall be: its tensors, its golden rows, and what belongs beside them."""

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
    """Where a network's numbers come from, as far as it is known."""

    source: str = ""
    """Such as ``resnet18`` or ``package.module:callable``."""
    weights_sha256: str = ""
    data: str = ""
    licence: str = ""
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Scores on held-out data, such as ``{"top1": 0.91}``."""


@dataclass(frozen=True)
class ArtifactSpec:
    """What an artifact shall be, beside the module itself."""

    name: str
    task: Task
    inputs: tuple[TensorSpec, ...]
    """In the order in which the module takes them."""
    outputs: tuple[TensorSpec, ...]
    """In the order in which the module returns them."""
    golden: tuple[Rows, ...]
    """Real inputs, for each bucket; they are written down with PyTorch's answers."""
    probes: tuple[Rows, ...]
    """Random inputs, for each bucket, on which PyTorch and ONNX Runtime must agree, too."""
    agreement: Agreement
    """The task's answer, and in which share of the rows it must be the same."""
    buckets: tuple[Bucket, ...] = ()
    """Sizes of the named axes; empty: no axis but the batch varies."""
    labels: tuple[str, ...] = ()
    preprocessing: ImagePreprocessing | None = None
    section: BaseModel | None = None
    """The manifest's section of this task."""
    architecture: str = ""
    origin: Origin = field(default_factory=Origin)
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Scores on held-out data, beside the origin's."""
    version: int | None = None
    """None: the one after the newest."""
    max_batch_size: int = 32
    tolerance: Tolerance = DEFAULT_TOLERANCE
    opset_version: int = OPSET_VERSION

    @property
    def shapes(self) -> tuple[Bucket, ...]:
        """The buckets; without any, `FIXED` alone."""
        return self.buckets or (FIXED,)
