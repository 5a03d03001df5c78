"""What every answer has, and what stands in its place when an item fails."""

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from grpc import StatusCode

from sightline.errors import SightlineError


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the request spent its time on the server, and how it was run."""

    decode_s: float
    queue_s: float
    run_s: float
    total_s: float
    batch_size: int
    """Items that ran together, those of other callers included."""
    device: str
    """Such as ``cpu`` or ``cuda:0``."""


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """Why one image or history has no answer; the others may have theirs."""

    error: SightlineError
    """What a call with this item alone would have raised."""

    @property
    def code(self) -> StatusCode:
        """The gRPC status."""
        return self.error.code

    @property
    def message(self) -> str:
        """A sentence that says what to do about it."""
        return str(self.error)


Answer = TypeVar("Answer")
Outcome: TypeAlias = Answer | ItemFailed
"""The result of one item of many: its answer, as in ``Outcome[Classification]``, or the error."""
