"""Where the tensors of a request lie in its slot; frontend and worker compute the same.

A *slot* is the part of the arena that one request uses: a header, its inputs and its outputs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.artifact.manifest import Manifest, TensorSpec

_ALIGNMENT = 64  # a cache line, which neighbours never share
_HEADER_BYTES = 64


def aligned(size: int) -> int:
    """``size``, rounded up to whole cache lines, in bytes."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class Variant(NamedTuple):
    """The shapes and the outputs of a run; only requests of one variant share a run."""

    bucket: int = 0
    """Which of the manifest's ``shapes``."""
    with_optional: bool = False
    """Whether the outputs that are made on request are included."""

    @property
    def number(self) -> int:
        """As a ticket carries it, 0 to 65,535."""
        return 2 * self.bucket + self.with_optional

    @classmethod
    def of(cls, number: int) -> "Variant":
        """The variant with that number."""
        return cls(number >> 1, bool(number & 1))


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where one tensor lies in a slot."""

    offset: int  # bytes from the slot's start
    shape: tuple[int, ...]  # [rows, ...]
    dtype: np.dtype[np.generic]
    row_bytes: int


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where the tensors of a request of ``rows`` items lie in its slot."""

    inputs: tuple[TensorPlace, ...]
    outputs: tuple[TensorPlace, ...]
    size: int  # bytes

    @classmethod
    def of(cls, manifest: Manifest, rows: int, variant: int = 0) -> "SlotLayout":
        """The layout for ``rows`` items of a model; ``variant`` is a `Variant`'s number."""
        offset = _HEADER_BYTES
        index, with_optional = Variant.of(variant)
        bucket = manifest.shapes[index]

        def place(spec: TensorSpec) -> TensorPlace:
            nonlocal offset
            shape, dtype = (rows, *spec.row_shape(bucket)), np.dtype(spec.dtype)
            row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
            placed = TensorPlace(offset, shape, dtype, row_bytes)
            offset += aligned(rows * row_bytes)
            return placed

        inputs = tuple(place(spec) for spec in manifest.inputs)
        outputs = manifest.outputs_of(with_optional=with_optional)
        return cls(inputs, tuple(place(spec) for spec in outputs), offset)
