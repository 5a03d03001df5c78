"""What a ``Follow`` stream has observed: pure, shared by both clients.

The server keeps the state of a stream where it is computed, and with that worker it can be lost.
Nothing is wrong with the history, so a caller who asks for it (``resume=True``) has it remembered
here, up to a number of steps, and sent again on another stream.
"""

from grpc import StatusCode

from sightline.continuations import Prediction
from sightline.errors import SightlineError, Unavailable
from sightline.histories import HistoryLike, count_steps, history_from, join
from sightline.replies import read_identity
from sightline.sequence_questions import PredictQuestion
from sightline.sequence_replies import read_steps
from sightline.v1.models_pb2 import ModelIdentity
from sightline.v1.sequence_pb2 import FollowRequest, FollowResponse, History

DEFAULT_REMEMBERED = 10_000


class Observations:
    """The observations of one caller, over as many streams as it takes."""

    def __init__(
        self, question: PredictQuestion, *, resume: bool, remember: int, max_message_bytes: int
    ) -> None:
        if remember < 1:
            raise ValueError(f"remember is 1 step or more, not {remember}")
        self._question = question
        self._resume = resume
        self._remember = remember
        self._max_bytes = max_message_bytes - question.first_of(History()).ByteSize()
        self._history = History()  # what was observed, if it is to be remembered
        self._observed_steps = 0
        self._skipped_steps = 0  # observed, but no longer remembered when the stream was opened
        self._model = ModelIdentity()

    def read(self, observed: HistoryLike) -> History:
        """The message for an observation; raises as ``history_from`` does."""
        return history_from(observed, max_bytes=self._max_bytes)

    def message(self, observed: History, *, is_first: bool) -> FollowRequest:
        """What to send; the first message of a stream says all that is remembered before."""
        if not is_first:
            return FollowRequest(observed=observed)
        self._skipped_steps = self._observed_steps - count_steps(self._history)
        # More than is remembered of the past, so that no new step is lost.
        keep = self._remember + count_steps(observed)
        return self._question.first_of(join(self._history, observed, keep=keep))

    def predicted(self, observed: History, response: FollowResponse) -> Prediction:
        """What the server expects after an observation, which is thereby taken."""
        if self._resume:
            self._history = join(self._history, observed, keep=self._remember)
        if response.HasField("model"):
            self._model = response.model
        self._observed_steps = self._skipped_steps + response.observed_steps
        return Prediction(
            steps=read_steps(response.steps),
            observed_steps=self._observed_steps,
            model=read_identity(self._model),
        )

    def is_lost_for_good(self) -> bool:
        """Whether a stream that broke took with it what nobody can send again."""
        return self._observed_steps > 0 and not self._resume


def as_retryable(error: SightlineError) -> SightlineError:
    """The same, but for lost state: another stream may be opened at once."""
    if error.code is StatusCode.ABORTED:
        return Unavailable(str(error))
    return error
