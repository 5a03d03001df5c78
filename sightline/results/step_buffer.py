"""The steps of a ``PredictStream`` as they arrive; both clients share it."""

from collections import deque

from sightline.results.continuation import FinishReason, Step
from sightline.results.models import ModelIdentity
from sightline.results.outcomes import Timing
from sightline.results.read_models import read_identity, read_timing
from sightline.results.read_sequences import read_reason, read_steps
from sightline.v1.sequence_pb2 import FINISH_REASON_UNSPECIFIED, PredictStreamResponse


class StepBuffer:
    """Steps that have arrived and are not yet taken, and what is known about the whole stream."""

    def __init__(self) -> None:
        self._ready: deque[Step] = deque()
        self.model: ModelIdentity | None = None
        """The artifact that makes the steps; set with the first one."""
        self.finish_reason: FinishReason | None = None
        """Why the stream ended; None while it goes on."""
        self.timing: Timing | None = None
        """Where the time went; set at the end."""

    def _put(self, message: PredictStreamResponse) -> None:
        """Add what the server sent."""
        self._ready.extend(read_steps(message.steps))
        if message.HasField("model"):
            self.model = read_identity(message.model)
        if message.finish_reason != FINISH_REASON_UNSPECIFIED:
            self.finish_reason = read_reason(message.finish_reason)
            self.timing = read_timing(message.timing)

    def _pop(self) -> Step | None:
        """The next step that has arrived, if any."""
        return self._ready.popleft() if self._ready else None
