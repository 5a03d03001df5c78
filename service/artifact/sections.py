"""Sections of a manifest that only models of one task have."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ManifestPart(BaseModel):
    """Base of all parts of a manifest: validated, frozen, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SegmentationSection(ManifestPart):
    """What only segmentation needs."""

    head: str = "mask"
    """What the outputs mean, by a name of `service.processing.segmentation_heads`."""

    colours: tuple[tuple[int, int, int], ...] = ()
    """Red, green, blue, 0..255, of each class, for masks that people look at."""


class ProposalSearch(ManifestPart):
    """Parameters of selective search; sizes in px of the graph's input."""

    grain: int = Field(default=50, ge=1)
    """Scale of the finest groups of pixels; a larger value gives larger groups."""
    grain_step: int = Field(default=50, ge=1)
    """Difference between the first scale and the second, coarser one."""
    blur_px: float = Field(default=0.8, ge=0)
    """Standard deviation of the smoothing before pixels are grouped."""
    min_side_px: int = Field(default=12, ge=1)
    max_aspect_ratio: float = Field(default=2.5, ge=1)
    """Longer side over shorter side."""
    max_area_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the image's area."""


class DetectionSection(ManifestPart):
    """What only detection needs."""

    head: str = "candidates"
    """What the outputs mean, by a name of `service.processing.detection_heads.registry`."""
    keypoints: tuple[str, ...] = ()
    """Names of an object's keypoints, if the graph returns any."""

    score_threshold: float = Field(default=0.25, ge=0, le=1)
    """Used when a request sets none."""
    iou_threshold: float = Field(default=0.5, ge=0, le=1)
    """Used when a request sets none."""
    max_proposals: int = Field(default=0, ge=0, le=4000)
    """Rows of the input ``proposals``; 0: the graph takes only images."""
    proposal_search: ProposalSearch = ProposalSearch()
    """How proposals are found; used when ``max_proposals`` is over 0."""


class SequenceState(ManifestPart):
    """Recurrent state or KV cache: an output that is fed back as an input; it begins with zeros."""

    input: str
    output: str
    update: Literal["replace", "append"] = "replace"
    """``replace``: the output is the next run's input (recurrent state). ``append``: the output
    holds only the run's time steps (KV cache); they are written into the input from the sequence's
    position on, along the axis named ``time`` in the output. In the input that axis is as long as
    the context. An axis named ``past`` is as long as a bucket, so short sequences read less."""


class ResidualQuantiles(ManifestPart):
    """Errors of iterated forecasts on data that no weight was fitted to."""

    levels: tuple[float, ...] = Field(min_length=1)
    """Rising, between 0 and 1."""
    values: tuple[tuple[tuple[float, ...], ...], ...] = Field(min_length=1)
    """``[horizon][level][series]``: quantiles of the true value minus the forecast, in the series'
    units; horizon 0 is one step ahead."""


class CtcSection(ManifestPart):
    """For a graph that takes a whole history of values in one run and returns CTC logits.

    It has no states. Its input is ``[batch, time]`` of one series or ``[batch, time, series]``, its
    output ``[batch, frames, V]``; the manifest's ``buckets`` give the lengths of named axes. A
    shorter history is padded with zeros behind it; only its share of the frames counts.
    """

    blank: int = Field(ge=0)
    """The class that means no token; its text is empty."""


class SequenceSection(ManifestPart):
    """What only sequence prediction needs.

    The first input holds tokens or values, the first output logits or predictions, one for each
    time step of the input; the prediction at step t is for step t + 1. The other inputs and outputs
    are ``position`` and the states.
    """

    kind: Literal["tokens", "values"]
    vocabulary: tuple[str, ...] = ()
    """For tokens: the text of each token, by token id; with ``ctc``: of each class."""
    end_token: int = Field(default=-1, ge=-1)
    """For tokens: the id of the token that ends a sequence; -1: none."""
    series: int = Field(default=0, ge=0, le=4096)
    """For values: values at each time step."""
    loc: tuple[float, ...] = ()
    """For values, one for each series: the graph computes with ``(value - loc) / scale``. This only
    repeats it for the reader; inputs and predictions are in the series' own units."""
    scale: tuple[float, ...] = ()
    states: tuple[SequenceState, ...] = ()
    position_input: str = ""
    """Name of the int64 input with the number of time steps that each sequence's KV cache holds;
    empty: none."""
    context: int = Field(default=0, ge=0, le=2**20)
    """Most time steps of a sequence; 0: no limit."""
    chunk: int = Field(default=32, ge=1, le=4096)
    """Time steps of one prefill chunk."""
    residuals: ResidualQuantiles | None = None
    """For values: gives prediction intervals."""
    frame: int = Field(default=0, ge=0, le=2**20)
    """For graphs without an axis ``time``: samples of one series that are one time step; the graph
    returns scores for that step. 0: the graph has an axis ``time``."""
    overlap: int = Field(default=0, ge=0, le=2**20)
    """Samples of the previous frame that are put in front of each frame."""
    ctc: CtcSection | None = None
    """For a graph that transcribes values; None: it does not."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "tokens" and not self.vocabulary:
            raise ValueError("a sequence of tokens needs its vocabulary")
        if self.kind == "values" and not self.series:
            raise ValueError("a sequence of values needs its number of series")
        if any(state.update == "append" for state in self.states) and not (
            self.position_input and self.context
        ):
            raise ValueError("a KV cache (update = append) needs position_input and context")
        if self.ctc is not None:
            if self.kind != "values" or self.states or self.position_input or self.frame:
                raise ValueError("ctc goes with values, and without states, positions and frames")
            if self.ctc.blank >= len(self.vocabulary) or self.vocabulary[self.ctc.blank]:
                raise ValueError("ctc.blank must be a class of the vocabulary, with an empty text")
        return self
