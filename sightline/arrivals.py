"""The steps of a ``PredictStream`` as they arrive: pure, shared by both clients."""

from collections import deque

from sightline.answers import ModelIdentity, Timing
from sightline.continuations import FinishReason, Step
from sightline.replies import read_identity, read_timing
from sightline.sequence_replies import read_reason, read_steps
from sightline.v1.sequence_pb2 import FINISH_REASON_UNSPECIFIED, PredictStreamResponse


class Arrivals:
    """What has arrived and has not been taken; what is known of the whole."""

    def __init__(self) -> None:
        self._ready: deque[Step] = deque()
        self.model: ModelIdentity | None = None
        """The artifact that makes the steps; known with the first."""
        self.finish_reason: FinishReason | None = None
        """Why it ended; None: it has not."""
        self.timing: Timing | None = None
        """Where the time went; known at the end."""

    def put(self, message: PredictStreamResponse) -> None:
        """Take in what the server sent."""
        self._ready.extend(read_steps(message.steps))
        if message.HasField("model"):
            self.model = read_identity(message.model)
        if message.finish_reason != FINISH_REASON_UNSPECIFIED:
            self.finish_reason = read_reason(message.finish_reason)
            self.timing = read_timing(message.timing)

    def pop(self) -> Step | None:
        """The next step that is here, if any."""
        return self._ready.popleft() if self._ready else None
