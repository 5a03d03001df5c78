"""What all endpoints that read pictures have in common: from images to the outputs of the network.

``ask`` decodes straight into shared memory and submits; ``Question.answer`` waits. Between the two
a caller may do other things, which is what streams do.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from service.artifact.manifest import ImagePreprocessing
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.pending import Slot
from service.frontend.errors import InvalidInput, ServiceError
from service.frontend.images.decode import ImageLimits, decode_image, upright_size
from service.frontend.interceptors import Call
from service.frontend.model_repository import ServedModel
from service.frontend.request_metrics import Stages, Tally
from service.ipc.doorbell import Outcome
from service.ipc.slot_layout import Variant
from service.processing.placement import Placement, choose_bucket, place
from sightline.v1 import image_pb2, models_pb2

Array = NDArray[Any]

Complete = Callable[[int, Sequence[Array], Placement], None]
"""Fills the inputs beside the pixels: called with the image's number, its row of every input, and
where the image lies in the row; raises `InvalidInput`."""


class Row(NamedTuple):
    """Where the answer to one image is, and how large the image was."""

    part: int
    row: int
    width: int  # px, upright
    height: int


@dataclass(slots=True)
class Part:
    """The images of a request that share a bucket, and so a ticket."""

    slot: Slot
    preprocessing: ImagePreprocessing
    filled: int = 0
    outcome: Outcome | None = None  # once answered


@dataclass(slots=True)
class Question:
    """Images under way. ``close`` it when its outputs are not needed any more."""

    model: ServedModel
    call: Call
    rows: list[Row | ServiceError]  # for each image: where its answer is, or why it has none
    parts: list[Part] = field(default_factory=list[Part])
    decode_ns: int = 0

    def answer(self) -> list[list[Array]]:
        """Wait for the outputs: of each part one ``[capacity, ...]`` array a tensor.

        They are valid until ``close``.

        Raises:
            ServiceError: there are none.
        """
        outputs: list[list[Array]] = []
        for part in self.parts:
            assert part.slot.pending is not None
            part.outcome = part.slot.pending.wait()
            outputs.append(part.slot.outputs())
        return outputs

    def placement(self, row: Row) -> Placement:
        """Where an image lies in its row of pixels."""
        return place(row.width, row.height, self.parts[row.part].preprocessing)

    def close(self) -> None:
        """Give the shared memory back."""
        for part in self.parts:
            part.slot.close()


class ImageAsker:
    """Decodes, submits, and records how long it took."""

    def __init__(
        self, dispatcher: Dispatcher, limits: ImageLimits, max_items: int, tally: Tally
    ) -> None:
        self._tally = tally
        self._dispatcher = dispatcher
        self.limits = limits
        self._max_items = max_items

    def ask(
        self,
        model: ServedModel,
        images: Sequence[image_pb2.Image],
        call: Call,
        *,
        with_optional: bool = False,
        exact: bool = False,
        complete: Complete | None = None,
    ) -> Question:
        """Decode all images into slots, one a bucket, and submit those that could be read.

        Args:
            model: whom to ask.
            images: 1 to the server's limit.
            call: whose they are.
            with_optional: ask also for the outputs that are made on request.
            exact: resize images as `decode_image` says.
            complete: fills the model's other inputs.

        Raises:
            ServiceError: there are no images or too many, none of them can be read, the server is
            full, or nobody waits any more.
        """
        count = len(images)
        if not 1 <= count <= self._max_items:
            raise InvalidInput(
                f"a request holds 1 to {self._max_items} images, this one {count}; split it"
            )
        started_ns = time.monotonic_ns()
        call.count_for(model.model_id)
        unread = InvalidInput("the image was not read")
        question = Question(model, call, [unread] * count)
        try:
            for bucket, numbers in self._by_bucket(question, images):
                self._fill(
                    question, images, numbers, Variant(bucket, with_optional), exact, complete
                )
        except BaseException:
            question.close()
            raise
        if not question.parts:
            raise next(row for row in question.rows if isinstance(row, ServiceError))
        question.decode_ns = time.monotonic_ns() - started_ns
        return question

    def _by_bucket(
        self, question: Question, images: Sequence[image_pb2.Image]
    ) -> Iterable[tuple[int, Sequence[int]]]:
        """Which images go into which bucket; those that cannot be read go into none."""
        buckets = question.model.preprocessings
        if len(buckets) == 1:
            return ((0, range(len(images))),)
        numbers: dict[int, list[int]] = defaultdict(list)
        for number, image in enumerate(images):
            try:
                width, height = upright_size(image, self.limits)
            except InvalidInput as err:
                question.rows[number] = err
            else:
                numbers[choose_bucket(width, height, buckets)].append(number)
        return numbers.items()

    def _fill(
        self,
        question: Question,
        images: Sequence[image_pb2.Image],
        numbers: Sequence[int],
        variant: Variant,
        exact: bool,
        complete: Complete | None,
    ) -> None:
        """Decode the images of one bucket into a slot; submit it if there are any."""
        model, call, variant_number = question.model, question.call, variant.number
        preprocessing = model.preprocessings[variant.bucket]
        layout = model.layout(len(numbers), variant_number)
        slot = self._dispatcher.reserve(model.model_id, layout, variant_number)
        part = Part(slot, preprocessing)
        question.parts.append(part)
        inputs, index = slot.inputs(), len(question.parts) - 1
        for number in numbers:
            try:
                width, height = decode_image(
                    images[number],
                    preprocessing,
                    inputs[0][part.filled],
                    self.limits,
                    exact=exact,
                    check=call.check,
                )
                if complete:
                    its_rows = [each[part.filled] for each in inputs]
                    complete(number, its_rows, place(width, height, preprocessing))
            except InvalidInput as err:
                question.rows[number] = err
            else:
                question.rows[number] = Row(index, part.filled, width, height)
                part.filled += 1
        if not part.filled:
            question.parts.pop().slot.close()
            return
        pending = self._dispatcher.submit(slot, part.filled, call.deadline_ns)
        if not call.on_end(pending.cancel):
            pending.cancel()

    def record(self, question: Question, timing: models_pb2.Timing, post_started_ns: int) -> None:
        """Write where an answered request's time went, into its answer and into the metrics.

        Of a request in several parts: the part that took longest, and the largest batch.
        """
        ended_ns = time.monotonic_ns()
        outcome = _slowest(question.parts)
        timing.decode_seconds = decode_s = question.decode_ns / 1e9
        timing.queue_seconds = queue_s = outcome.queue_ns / 1e9
        timing.run_seconds = run_s = outcome.run_ns / 1e9
        timing.total_seconds = total_s = (ended_ns - question.call.received_ns) / 1e9
        timing.batch_size = outcome.batch_size
        timing.device = question.model.device
        model, tally = question.model.update.name, self._tally
        post_s = (ended_ns - post_started_ns) / 1e9
        tally.stages(model, Stages(decode_s, queue_s, run_s, post_s, total_s))
        errors = [row for row in question.rows if isinstance(row, ServiceError)]
        tally.items(model, "OK", len(question.rows) - len(errors))
        for error in errors:
            tally.items(model, error.code.name, 1)


def _slowest(parts: Sequence[Part]) -> Outcome:
    """Of all parts the longest times and the largest batch."""
    first, *others = [part.outcome for part in parts if part.outcome is not None]
    for other in others:
        first = first._replace(
            queue_ns=max(first.queue_ns, other.queue_ns),
            run_ns=max(first.run_ns, other.run_ns),
            batch_size=max(first.batch_size, other.batch_size),
        )
    return first


def item_error(err: ServiceError) -> models_pb2.ItemError:
    """What the answer says of an image, or of a stream's request, that failed."""
    return models_pb2.ItemError(code=err.code.value[0], message=str(err))
