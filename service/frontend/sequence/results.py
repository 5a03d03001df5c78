"""What ``Predict`` does alike, whether its histories are continued or transcribed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from service.frontend.errors import InvalidInput, ServiceError
from service.frontend.model_repository import ServedModel
from service.frontend.sequence.generation import Generation
from service.frontend.sequence.options import Options
from service.frontend.sequence.steps import add_steps, finish_reason
from service.ipc.doorbell import Outcome
from sightline.v1 import sequence_pb2 as pb


class Asked(Protocol):
    """A history that is being answered."""

    def wait(self) -> Outcome:
        """Wait for the answer; raises as `Pending.wait`."""
        ...

    def write(self, continuation: pb.Continuation) -> None:
        """Fill in the steps, their text, and why they ended."""
        ...

    def close(self) -> None:
        """The request is done with it, answered or not."""
        ...


@dataclass(frozen=True, slots=True)
class Continued:
    """A history that the decoding engine continues."""

    generation: Generation
    model: ServedModel
    options: Options

    def wait(self) -> Outcome:
        """Wait for the last step."""
        return self.generation.wait()

    def write(self, continuation: pb.Continuation) -> None:
        """All steps."""
        slot = self.generation.room.slot
        continuation.text = add_steps(continuation, slot, 0, slot.count, self.model, self.options)
        continuation.finish_reason = finish_reason(slot)

    def close(self) -> None:
        """Free its slot as soon as no worker writes there."""
        self.generation.room.close()


def try_ask(ask: Callable[[pb.History], Asked], history: pb.History) -> Asked | ServiceError:
    """What is wrong with one history fails only that one."""
    try:
        return ask(history)
    except InvalidInput as err:
        return err


def wait(asked: Asked | ServiceError) -> Outcome | ServiceError:
    """Its outcome, or why there is none."""
    if isinstance(asked, ServiceError):
        return asked
    try:
        return asked.wait()
    except ServiceError as err:
        return err


def raise_if_none(each: list[Any]) -> None:
    """Where all have failed, the call fails as the first of them."""
    if all(isinstance(one, ServiceError) for one in each):
        raise each[0]
