"""A history of values in, the tokens that a CTC network reads in it out: one run, no steps.

It goes the way of images: a bucket, a row in the channel, a batch. What stands in the row behind
the history is zeros, and of the logits only the history's share is read.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.pending import Pending, Slot
from service.frontend.errors import InvalidInput, RunFailed
from service.frontend.interceptors import Call
from service.frontend.model_repository import ServedModel
from service.frontend.response_encoding import join
from service.frontend.sequence.options import TranscriptionOptions
from service.ipc.doorbell import Outcome
from service.ipc.slot_layout import Variant
from service.processing.ctc import beam_search, greedy, own_frames, step_log_probabilities
from sightline.v1 import sequence_pb2 as pb


@dataclass(frozen=True, slots=True)
class Transcription:
    """One history under way."""

    pending: Pending
    slot: Slot
    model: ServedModel
    options: TranscriptionOptions
    length: int
    """Time steps of the history."""
    row_length: int
    """And of its row, where zeros follow."""

    def wait(self) -> Outcome:
        """Wait for the logits.

        Raises:
            ServiceError: as `Pending.wait`; or they say nothing of a time step.
        """
        outcome = self.pending.wait()
        if not np.isfinite(self._logits().max(axis=1)).all():  # -inf is a token that cannot be
            raise RunFailed("the model's answer is not finite")
        return outcome

    def write(self, continuation: pb.Continuation) -> None:
        """The tokens as steps, and why there are no more."""
        section = self.model.manifest.sequence
        assert section is not None
        assert section.ctc is not None
        logits, blank = self._logits(), section.ctc.blank
        beams = self.options.beams
        tokens = (
            beam_search(logits, beams, blank)[0] if beams > 1 else greedy(logits, blank)
        ).tokens
        told = tokens[: self.options.max_steps]
        log_probabilities = step_log_probabilities(logits, told, blank).tolist()
        continuation.MergeFromString(join(self.model.token_heads, told, log_probabilities))
        continuation.text = "".join([section.vocabulary[token] for token in told])
        is_cut = len(told) < len(tokens)
        continuation.finish_reason = pb.FINISH_REASON_STEPS if is_cut else pb.FINISH_REASON_STOP

    def _logits(self) -> NDArray[np.float32]:
        """Of the history's own time steps, ``[T, V]``."""
        rows = self.slot.outputs()[0][0].astype(np.float32, copy=False)
        return own_frames(rows, self.length, self.row_length)

    def close(self) -> None:
        """The request is done with it, answered or not."""
        self.slot.close()


def start_transcription(
    dispatcher: Dispatcher,
    model: ServedModel,
    values: NDArray[np.generic],
    options: TranscriptionOptions,
    call: Call,
) -> Transcription:
    """Put a history into the smallest bucket that takes it, and submit it.

    Args:
        dispatcher: of this frontend.
        model: that is asked.
        values: ``[T, series]``.
        options: checked.
        call: of the caller.

    Raises:
        ServiceError: the history is longer than every bucket, or the server is full.
    """
    bucket, row_length = _bucket_for(model.manifest, len(values))
    variant = Variant(bucket).number
    slot = dispatcher.reserve(model.model_id, model.layout(1, variant), variant)
    try:
        row = slot.inputs()[0][0]
        row[: len(values)] = values.reshape(-1, *row.shape[1:])
        row[len(values) :] = 0
        call.count_for(model.model_id)
        pending = dispatcher.submit(slot, 1, call.deadline_ns)
    except BaseException:
        slot.close()
        raise
    if not call.on_end(pending.cancel):
        pending.cancel()
    return Transcription(pending, slot, model, options, len(values), row_length)


def _bucket_for(manifest: Manifest, length: int) -> tuple[int, int]:
    """The number of the smallest bucket that takes so many time steps, and its length."""
    values = manifest.inputs[0]
    lengths = [values.row_shape(shape)[0] for shape in manifest.shapes]
    if length > max(lengths):
        raise InvalidInput(
            f"the history has {length} time steps and the model takes {max(lengths)} at most; send"
            " it in parts, or adopt the model with longer --lengths"
        )
    return min(
        ((number, size) for number, size in enumerate(lengths) if size >= length),
        key=lambda each: each[1],
    )
