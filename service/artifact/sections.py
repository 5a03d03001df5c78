"""The parts of a manifest that only models of one task have."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ManifestPart(BaseModel):
    """What every part of a manifest is: checked, frozen, without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SegmentationSection(ManifestPart):
    """What only segmentation needs to know."""

    head: str = "mask"
    """What the outputs mean, by a name of `service.processing.segmentation_heads`."""

    colours: tuple[tuple[int, int, int], ...] = ()
    """Red, green, blue, 0..255, of each class, for masks people look at."""


class ProposalSearch(ManifestPart):
    """What selective search looks for; sizes in px of the graph's input."""

    grain: int = Field(default=50, ge=1)
    """Scale of the finest groups of pixels: the larger, the larger they are."""
    grain_step: int = Field(default=50, ge=1)
    """The second grain is that much coarser."""
    blur_px: float = Field(default=0.8, ge=0)
    """Standard deviation of the smoothing before the pixels are grouped."""
    min_side_px: int = Field(default=12, ge=1)
    max_aspect_ratio: float = Field(default=2.5, ge=1)
    """Longer side over shorter side."""
    max_area_share: float = Field(default=0.5, gt=0, le=1)
    """Of the image."""


class DetectionSection(ManifestPart):
    """What only detection needs to know."""

    head: str = "candidates"
    """What the outputs mean, by a name of `service.processing.detection_heads.registry`."""
    keypoints: tuple[str, ...] = ()
    """Names of the points of a thing, where the graph gives any."""

    score_threshold: float = Field(default=0.25, ge=0, le=1)
    """Where a request sets none."""
    iou_threshold: float = Field(default=0.5, ge=0, le=1)
    """Where a request sets none."""
    max_proposals: int = Field(default=0, ge=0, le=4000)
    """Rows of the input ``proposals``; 0: the graph takes images alone."""
    proposal_search: ProposalSearch = ProposalSearch()
    """How the rows are found; of use where ``max_proposals`` is over 0."""


class SequenceState(ManifestPart):
    """One tensor that a sequence carries from run to run; a new sequence begins with zeros."""

    input: str
    output: str
    update: Literal["replace", "append"] = "replace"
    """``replace``: the output is the next run's input. ``append``: the output holds only the time
    steps of the run; they belong into the input, from the sequence's position on, along the axis
    that is ``time`` in the output. In the input that axis is as long as the context or, where it is
    called ``past``, as long as one of the buckets says: a run of short sequences reads less."""


class ResidualQuantiles(ManifestPart):
    """How far iterated forecasts were off, on data that no weight was fitted to."""

    levels: tuple[float, ...] = Field(min_length=1)
    """Rising, between 0 and 1."""
    values: tuple[tuple[tuple[float, ...], ...], ...] = Field(min_length=1)
    """``[horizon][level][series]``: quantiles of the true value less the forecast, in the series'
    units, one step ahead first."""


class CtcSection(ManifestPart):
    """Of a graph that reads a whole history of values in one run and answers with CTC logits.

    It has no states. Its input is ``[batch, time]`` of one series or ``[batch, time, series]``, its
    answer ``[batch, frames, V]``; where ``time`` or ``frames`` are free, the manifest's ``buckets``
    say how long they are. A shorter history has zeros behind it, and of its bucket's frames those
    count that are its share.
    """

    blank: int = Field(ge=0)
    """The class that means no token; its text is empty."""


class SequenceSection(ManifestPart):
    """What only sequence prediction needs to know.

    The first input holds tokens or values, the first output logits or predictions, each for as many
    time steps as the caller has; the prediction at step t is that of step t + 1. The others are
    ``position`` and the states.
    """

    kind: Literal["tokens", "values"]
    vocabulary: tuple[str, ...] = ()
    """Of tokens: the text that each stands for, in their order; with ``ctc``: each class."""
    end_token: int = Field(default=-1, ge=-1)
    """Of tokens: the one with which a sequence ends; -1: there is none."""
    series: int = Field(default=0, ge=0, le=4096)
    """Of values: how many are observed at each time step."""
    loc: tuple[float, ...] = ()
    """Of values, one a series: the graph computes with ``(value - loc) / scale``. Repeated here for
    the reader; values go in and predictions come out in the series' own units."""
    scale: tuple[float, ...] = ()
    states: tuple[SequenceState, ...] = ()
    position_input: str = ""
    """The int64 input that says how many time steps of each sequence the appended states hold;
    empty: there is none."""
    context: int = Field(default=0, ge=0, le=2**20)
    """Time steps that a sequence may have at most; 0: any number."""
    chunk: int = Field(default=32, ge=1, le=4096)
    """Time steps of a history to give to one run."""
    residuals: ResidualQuantiles | None = None
    """Of values: for prediction intervals."""
    frame: int = Field(default=0, ge=0, le=2**20)
    """Of a graph whose input has no axis ``time`` but takes this many samples of one series as one
    time step, and answers with scores of that step; 0: of any other graph."""
    overlap: int = Field(default=0, ge=0, le=2**20)
    """Samples of the frame before that go in front of each frame."""
    ctc: CtcSection | None = None
    """Of a graph that transcribes values; None: of any other."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "tokens" and not self.vocabulary:
            raise ValueError("a sequence of tokens needs its vocabulary")
        if self.kind == "values" and not self.series:
            raise ValueError("a sequence of values needs its number of series")
        if any(state.update == "append" for state in self.states) and not (
            self.position_input and self.context
        ):
            raise ValueError("states that grow need position_input and context")
        if self.ctc is not None:
            if self.kind != "values" or self.states or self.position_input or self.frame:
                raise ValueError("ctc goes with values, and without states, positions and frames")
            if self.ctc.blank >= len(self.vocabulary) or self.vocabulary[self.ctc.blank]:
                raise ValueError("ctc.blank must be a class of the vocabulary, with an empty text")
        return self
