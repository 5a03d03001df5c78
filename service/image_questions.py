"""What all endpoints that read pictures have in common: from images to the outputs of the network.

``ask`` decodes straight into shared memory and submits; ``Question.answer`` waits. Between the two
a caller may do other things, which is what streams do.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from service.dispatcher import Dispatcher
from service.doorbell import Outcome
from service.errors import InvalidInput, ServiceError
from service.images import ImageLimits, decode_image
from service.interceptors import Call
from service.pending import Slot
from service.repository import ServedModel
from service.tally import Stages, Tally
from sightline.v1 import image_pb2, models_pb2


@dataclass(slots=True)
class Question:
    """Images under way. ``close`` it when its outputs are not needed any more."""

    model: ServedModel
    slot: Slot
    rows: list[int | ServiceError]  # for each image: its row in the outputs, or why it has none
    answered: int  # how many have one
    call: Call
    decode_ns: int
    outcome: Outcome | None = None  # once answered

    def answer(self) -> list[NDArray[Any]]:
        """Wait for the outputs: one ``[capacity, ...]`` array a tensor, valid until ``close``.

        Raises:
            ServiceError: there are none.
        """
        assert self.slot.pending is not None
        self.outcome = self.slot.pending.wait()
        return self.slot.outputs()

    def close(self) -> None:
        """Give the shared memory back."""
        self.slot.close()


class ImageAsker:
    """Decodes, submits, and records how long it took."""

    def __init__(
        self, dispatcher: Dispatcher, limits: ImageLimits, max_items: int, tally: Tally
    ) -> None:
        self._tally = tally
        self._dispatcher = dispatcher
        self._limits = limits
        self._max_items = max_items

    def ask(self, model: ServedModel, images: Sequence[image_pb2.Image], call: Call) -> Question:
        """Decode all images into a slot and submit those that could be read.

        Raises:
            ServiceError: there are no images or too many, none of them can be read, or the server
            is full.
        """
        count = len(images)
        if not 1 <= count <= self._max_items:
            raise InvalidInput(
                f"a request holds 1 to {self._max_items} images, this one {count}; split it"
            )
        preprocessing = model.manifest.preprocessing
        assert preprocessing is not None  # checked when the version was taken over
        started_ns = time.monotonic_ns()
        slot = self._dispatcher.reserve(model.model_id, model.layout(count))
        try:
            (pixels,) = slot.inputs()
            rows: list[int | ServiceError] = []
            filled = 0
            for image in images:
                try:
                    decode_image(image, preprocessing, pixels[filled], self._limits)
                except InvalidInput as err:
                    rows.append(err)
                else:
                    rows.append(filled)
                    filled += 1
            if not filled:
                raise next(row for row in rows if isinstance(row, ServiceError))
            decode_ns = time.monotonic_ns() - started_ns
            pending = self._dispatcher.submit(slot, filled, call.deadline_ns)
        except BaseException:
            slot.close()
            raise
        if not call.on_end(pending.cancel):
            pending.cancel()
        return Question(model, slot, rows, filled, call, decode_ns)

    def record(self, question: Question, timing: models_pb2.Timing, post_started_ns: int) -> None:
        """Write where an answered request's time went, into its answer and into the metrics."""
        outcome = question.outcome
        assert outcome is not None
        ended_ns = time.monotonic_ns()
        timing.decode_seconds = decode_s = question.decode_ns / 1e9
        timing.queue_seconds = queue_s = outcome.queue_ns / 1e9
        timing.run_seconds = run_s = outcome.run_ns / 1e9
        timing.total_seconds = total_s = (ended_ns - question.call.received_ns) / 1e9
        timing.batch_size = outcome.batch_size
        timing.device = question.model.device
        model, tally = question.model.update.name, self._tally
        post_s = (ended_ns - post_started_ns) / 1e9
        tally.stages(model, Stages(decode_s, queue_s, run_s, post_s, total_s))
        tally.items(model, "OK", question.answered)
        if question.answered < len(question.rows):
            for row in question.rows:
                if isinstance(row, ServiceError):
                    tally.items(model, row.code.name, 1)
