"""The options of ``sightline adopt``: what an owner knows about a graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from export.errors import AdoptionError
from service.artifact.manifest import Task

Layout = Literal["nchw", "nhwc", "chw", "hwc", "flat"]
"""The axes of the graph's pixels: N images, C channels, H rows, W columns; ``flat`` is
``[N, H * W * C]``."""
Colours = Literal["rgb", "bgr", "grey"]
Scale = Literal["0-1", "0-255", "-1-1", "imagenet"]
Fit = Literal["crop", "stretch", "letterbox", "pad"]

SCALES: Mapping[Scale, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "0-255": ((0.0,) * 3, (1.0,) * 3),
        "0-1": ((0.0,) * 3, (255.0,) * 3),
        "-1-1": ((127.5,) * 3, (127.5,) * 3),
        "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    }
)
"""Mean and standard deviation, red, green, blue, in units of 0..255."""

_FIELDS = {"--size": "sizes", "--state": "states"}
"""The fields of flags that may be repeated."""


@dataclass(frozen=True)
class AdoptionOptions:
    """The options of ``sightline adopt``; None or empty: found out from the graph, or guessed."""

    path: Path
    """The ONNX file."""
    task: Task
    name: str
    version: int | None = None
    examples: tuple[Path, ...] = ()
    """Images, sequences or arrays; their answers become the golden ones."""
    labels: Path | None = None
    head: str | None = None
    layout: Layout | None = None
    colours: Colours | None = None
    scale: Scale | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """Mean and std are in units of 0..255, in the graph's own order of channels."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Height and width, in px."""
    fit: Fit | None = None
    crop_share: float | None = None
    max_batch_size: int | None = None
    frozen: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Values of inputs that are the same for every request."""
    states: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Recurrent states of a sequence graph: input -> the output that is its next value."""
    frame: int = 0
    """For sequences of frames: new samples per time step."""
    overlap: int = 0
    """For sequences of frames: samples of the previous time step before the new ones."""
    blank: int | None = None
    """For CTC networks: the class that is no token."""
    lengths: tuple[int, ...] = ()
    """For CTC networks: the lengths at which the graph is run, in time steps."""
    licence: str = ""
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def refuse(self, flags: Sequence[str], graph: str) -> None:
        """Refuse flags that say nothing about a kind of graph.

        Args:
            flags: such as ``--max-batch-size``.
            graph: the kind of graph, for the message.

        Raises:
            AdoptionError: one of the flags was given.
        """
        for flag in flags:
            if getattr(self, _FIELDS.get(flag, flag[2:].replace("-", "_"))):
                raise AdoptionError(f"{flag} is not for {graph}; leave it out")

    def batch_size(self, row: str, default: int, *, is_free: bool) -> int:
        """The largest batch that the artifact takes.

        Args:
            row: what a row of the batch is, for the message.
            default: where the owner does not say.
            is_free: whether the graph takes more than one row at a time.

        Raises:
            AdoptionError: the owner wants more than the graph takes.
        """
        if is_free:
            return self.max_batch_size or default
        if self.max_batch_size not in (None, 1):
            raise AdoptionError(
                f"the graph takes one {row} at a time; --max-batch-size {self.max_batch_size} is"
                " too large"
            )
        return 1
