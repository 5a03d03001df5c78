"""What all endpoints for images have in common: from images to the outputs of the network.

`ImageRequests.submit` decodes straight into shared memory and submits; `ImageRequest.wait` waits.
Between the two, a stream can submit further requests.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from service.artifact.manifest import ImagePreprocessing
from service.frontend.call import Call
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.slots import Slot
from service.frontend.errors import InvalidInput, ServiceError
from service.frontend.images.decode import ImageLimits, decode_image, upright_size
from service.frontend.model_repository import ServedModel
from service.frontend.request_metrics import RequestMetrics
from service.frontend.timing import record_answer
from service.ipc.doorbell import Outcome
from service.ipc.slot_layout import Variant
from service.processing.placement import Placement, choose_bucket, place
from sightline.v1 import image_pb2, models_pb2

Array = NDArray[Any]

Complete = Callable[[int, Sequence[Array], Placement], None]
"""Fills the inputs beside the pixels. Called with the image's number, its row of every input, and
the image's placement in the row; raises `InvalidInput`."""


class Row(NamedTuple):
    """Where the outputs for one image are, and the size of the image."""

    ticket: int
    row: int
    width: int  # px, upright
    height: int


@dataclass(slots=True)
class BucketTicket:
    """The images of a request that share a bucket, and so a ticket."""

    slot: Slot
    preprocessing: ImagePreprocessing
    filled: int = 0  # rows
    outcome: Outcome | None = None  # once answered


@dataclass(slots=True)
class ImageRequest:
    """Images in flight. ``close`` it when its outputs are no longer needed."""

    model: ServedModel
    call: Call
    rows: list[Row | ServiceError]  # for each image: its row, or why it has none
    tickets: list[BucketTicket] = field(default_factory=list[BucketTicket])
    decode_ns: int = 0

    def wait(self) -> list[list[Array]]:
        """Wait for the outputs: for each ticket, one ``[capacity, ...]`` array a tensor.

        They are valid until ``close``.

        Raises:
            ServiceError: why there are no outputs.
        """
        outputs: list[list[Array]] = []
        for ticket in self.tickets:
            assert ticket.slot.pending is not None
            ticket.outcome = ticket.slot.pending.wait()
            outputs.append(ticket.slot.outputs())
        return outputs

    def placement(self, row: Row) -> Placement:
        """Where an image lies in its row of pixels."""
        return place(row.width, row.height, self.tickets[row.ticket].preprocessing)

    def close(self) -> None:
        """Free the shared memory."""
        for ticket in self.tickets:
            ticket.slot.close()


class ImageRequests:
    """Decodes and submits the images of requests, and records the times of answered requests."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        limits: ImageLimits,
        max_items: int,
        request_metrics: RequestMetrics,
    ) -> None:
        self._request_metrics = request_metrics
        self._dispatcher = dispatcher
        self.limits = limits
        self._max_items = max_items

    def submit(
        self,
        model: ServedModel,
        images: Sequence[image_pb2.Image],
        call: Call,
        *,
        with_optional: bool = False,
        exact: bool = False,
        complete: Complete | None = None,
    ) -> ImageRequest:
        """Decode all images into slots, one a bucket, and submit those that could be read.

        Args:
            model: that the request is for.
            images: 1 to the server's limit.
            call: of the request.
            with_optional: request also the outputs that are made on request.
            exact: resize images as `decode_image` says.
            complete: fills the model's other inputs.

        Raises:
            ServiceError: there are no images or too many, none of them can be read, the server is
            full, or the call is cancelled.
        """
        count = len(images)
        if not 1 <= count <= self._max_items:
            raise InvalidInput(
                f"a request holds 1 to {self._max_items} images, this one {count}; split it"
            )
        started_ns = time.monotonic_ns()
        call.count_for(model.model_id)
        unread = InvalidInput("the image was not read")
        request = ImageRequest(model, call, [unread] * count)
        try:
            for bucket, numbers in self._by_bucket(request, images):
                self._fill(
                    request, images, numbers, Variant(bucket, with_optional), exact, complete
                )
        except BaseException:
            request.close()
            raise
        if not request.tickets:
            raise next(row for row in request.rows if isinstance(row, ServiceError))
        request.decode_ns = time.monotonic_ns() - started_ns
        return request

    def _by_bucket(
        self, request: ImageRequest, images: Sequence[image_pb2.Image]
    ) -> Iterable[tuple[int, Sequence[int]]]:
        """The numbers of the images in each bucket; an unreadable image is in no bucket."""
        buckets = request.model.preprocessings
        if len(buckets) == 1:
            return ((0, range(len(images))),)
        numbers: dict[int, list[int]] = defaultdict(list)
        for number, image in enumerate(images):
            try:
                width, height = upright_size(image, self.limits)
            except InvalidInput as err:
                request.rows[number] = err
            else:
                numbers[choose_bucket(width, height, buckets)].append(number)
        return numbers.items()

    def _fill(
        self,
        request: ImageRequest,
        images: Sequence[image_pb2.Image],
        numbers: Sequence[int],
        variant: Variant,
        exact: bool,
        complete: Complete | None,
    ) -> None:
        """Decode the images of one bucket into a slot; submit it unless it stays empty."""
        model, call, variant_number = request.model, request.call, variant.number
        preprocessing = model.preprocessings[variant.bucket]
        layout = model.layout(len(numbers), variant_number)
        slot = self._dispatcher.reserve(model.model_id, layout, variant_number)
        ticket = BucketTicket(slot, preprocessing)
        request.tickets.append(ticket)
        inputs, index = slot.inputs(), len(request.tickets) - 1
        for number in numbers:
            try:
                width, height = decode_image(
                    images[number],
                    preprocessing,
                    inputs[0][ticket.filled],
                    self.limits,
                    exact=exact,
                    check=call.check,
                )
                if complete:
                    its_rows = [each[ticket.filled] for each in inputs]
                    complete(number, its_rows, place(width, height, preprocessing))
            except InvalidInput as err:
                request.rows[number] = err
            else:
                request.rows[number] = Row(index, ticket.filled, width, height)
                ticket.filled += 1
        if not ticket.filled:
            request.tickets.pop().slot.close()
            return
        self._dispatcher.submit(slot, ticket.filled, call)

    def record(
        self, request: ImageRequest, timing: models_pb2.Timing, post_started_ns: int
    ) -> None:
        """Write the times of an answered request into its response and into the metrics."""
        metrics, model = self._request_metrics, request.model
        errors = [row for row in request.rows if isinstance(row, ServiceError)]
        record_answer(
            metrics,
            request.call,
            _slowest(request.tickets),
            len(request.rows) - len(errors),
            request.decode_ns,
            post_started_ns,
            timing,
            model.device,
        )
        for error in errors:
            metrics.add_items(request.call.model, error.code.name, 1)


def _slowest(tickets: Sequence[BucketTicket]) -> Outcome:
    """The longest times and the largest batch of all tickets."""
    first, *others = [ticket.outcome for ticket in tickets if ticket.outcome is not None]
    for other in others:
        first = first._replace(
            queue_ns=max(first.queue_ns, other.queue_ns),
            run_ns=max(first.run_ns, other.run_ns),
            batch_size=max(first.batch_size, other.batch_size),
        )
    return first


def item_error(err: ServiceError) -> models_pb2.ItemError:
    """The response for an image, or a request of a stream, that failed."""
    return models_pb2.ItemError(code=err.code.value[0], message=str(err))
