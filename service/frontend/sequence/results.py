"""The results of ``Predict``, one for each history: a continuation or a transcription."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from service.frontend.errors import InvalidInput, ServiceError
from service.frontend.model_repository import ServedModel
from service.frontend.sequence.generation import Generation
from service.frontend.sequence.options import ContinuationOptions
from service.frontend.sequence.steps import add_steps, finish_reason
from service.frontend.sequence.stop_exclusion import answered_steps
from service.ipc.doorbell import Outcome
from sightline.v1 import sequence_pb2 as pb


class PendingResult(Protocol):
    """The result of a submitted history."""

    def wait(self) -> Outcome:
        """Wait for the result; raises as `PendingTicket.wait`."""
        ...

    def write(self, continuation: pb.Continuation) -> None:
        """Write the steps, their text, and why they ended."""
        ...

    def close(self) -> None:
        """The request is done with the result, answered or not."""
        ...


@dataclass(frozen=True, slots=True)
class PendingContinuation:
    """A history that the decoding engine continues."""

    generation: Generation
    model: ServedModel
    options: ContinuationOptions

    def wait(self) -> Outcome:
        """Wait for the last step."""
        return self.generation.wait()

    def write(self, continuation: pb.Continuation) -> None:
        """Write all steps."""
        slot, section = self.generation.reservation.slot, self.model.manifest.sequence
        assert section is not None
        count, last_text = answered_steps(slot, slot.count, section, self.options)
        continuation.text = add_steps(
            continuation, slot, 0, count, self.model, self.options, last_text
        )
        continuation.finish_reason = finish_reason(slot)

    def close(self) -> None:
        """Free the slot as soon as no worker can write to it."""
        self.generation.reservation.close()


def try_submit(
    submit: Callable[[pb.History], PendingResult], history: pb.History
) -> PendingResult | ServiceError:
    """Submit a history. An invalid history fails alone, so its error is returned."""
    try:
        return submit(history)
    except InvalidInput as err:
        return err


def wait(result: PendingResult | ServiceError) -> Outcome | ServiceError:
    """The outcome of a result, or its error."""
    if isinstance(result, ServiceError):
        return result
    try:
        return result.wait()
    except ServiceError as err:
        return err


def raise_if_all_failed(results: list[Any]) -> None:
    """If all results are errors, raise the first: the call fails with it."""
    if all(isinstance(each, ServiceError) for each in results):
        raise results[0]
