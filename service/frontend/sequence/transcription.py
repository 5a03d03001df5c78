"""Transcription with a CTC network: a history of values in, tokens out, in one run.

A transcription is handled like an image: a bucket, a row in the channel, a batch. The row is padded
with zeros after the history, and only the history's share of the logits is read.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.frontend.call import Call
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.pending import PendingTicket
from service.frontend.dispatch.slots import Slot
from service.frontend.errors import InvalidInput, RunFailed
from service.frontend.model_repository import ServedModel
from service.frontend.response_encoding import join
from service.frontend.sequence.options import TranscriptionOptions
from service.ipc.doorbell import Outcome
from service.ipc.slot_layout import Variant
from service.processing.ctc import beam_search, greedy, own_frames, step_log_probabilities
from sightline.v1 import sequence_pb2 as pb


@dataclass(frozen=True, slots=True)
class PendingTranscription:
    """One submitted history."""

    pending: PendingTicket
    slot: Slot
    model: ServedModel
    options: TranscriptionOptions
    length: int
    """Time steps of the history."""
    row_length: int
    """Time steps of its row, with the padding."""

    def wait(self) -> Outcome:
        """Wait for the logits.

        Raises:
            ServiceError: as `PendingTicket.wait`; or a time step has no finite logit.
        """
        outcome = self.pending.wait()
        if not np.isfinite(self._logits().max(axis=1)).all():  # -inf is a token with probability 0
            raise RunFailed("the model's answer is not finite")
        return outcome

    def write(self, continuation: pb.Continuation) -> None:
        """Write the tokens as steps, and why they ended."""
        section = self.model.manifest.sequence
        assert section is not None
        assert section.ctc is not None
        logits, blank = self._logits(), section.ctc.blank
        beams = self.options.beams
        tokens = (
            beam_search(logits, beams, blank)[0] if beams > 1 else greedy(logits, blank)
        ).tokens
        kept = tokens[: self.options.max_steps]
        log_probabilities = step_log_probabilities(logits, kept, blank).tolist()
        continuation.MergeFromString(join(self.model.token_prefixes, kept, log_probabilities))
        continuation.text = "".join([section.vocabulary[token] for token in kept])
        is_cut = len(kept) < len(tokens)
        continuation.finish_reason = pb.FINISH_REASON_STEPS if is_cut else pb.FINISH_REASON_STOP

    def _logits(self) -> NDArray[np.float32]:
        """The logits of the history's own time steps, ``[T, V]``."""
        rows = self.slot.outputs()[0][0].astype(np.float32, copy=False)
        return own_frames(rows, self.length, self.row_length)

    def close(self) -> None:
        """The request is done with the result, answered or not."""
        self.slot.close()


def start_transcription(
    dispatcher: Dispatcher,
    model: ServedModel,
    values: NDArray[np.generic],
    options: TranscriptionOptions,
    call: Call,
) -> PendingTranscription:
    """Put a history into the smallest bucket that fits, and submit it.

    Args:
        dispatcher: of this frontend.
        model: that transcribes.
        values: ``[T, series]``.
        options: checked.
        call: of the request.

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
        pending = dispatcher.submit(slot, 1, call)
    except BaseException:
        slot.close()
        raise
    return PendingTranscription(pending, slot, model, options, len(values), row_length)


def _bucket_for(manifest: Manifest, length: int) -> tuple[int, int]:
    """The number and length of the smallest bucket for this many time steps."""
    values = manifest.inputs[0]
    lengths = [values.row_shape(shape)[0] for shape in manifest.shapes]
    if length > max(lengths):
        raise InvalidInput(
            f"the history has {length} time steps and the model takes at most {max(lengths)}; send"
            " it in parts, or adopt the model with longer --lengths"
        )
    return min(
        ((number, size) for number, size in enumerate(lengths) if size >= length),
        key=lambda each: each[1],
    )
