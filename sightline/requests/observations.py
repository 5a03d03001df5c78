"""The observations of a ``Follow`` stream; both clients share it.

The server keeps the state of a stream in one worker, and loses it with that worker. With
``resume=True`` the client remembers the end of the history, and sends it again on another stream.
"""

from grpc import StatusCode

from sightline.errors import SightlineError, Unavailable
from sightline.requests.histories import HistoryLike, count_steps, history_from, join
from sightline.requests.sequence_queries import PredictQuery
from sightline.results.continuation import Prediction
from sightline.results.read_models import read_identity
from sightline.results.read_sequences import read_steps
from sightline.v1.models_pb2 import ModelIdentity
from sightline.v1.sequence_pb2 import FollowRequest, FollowResponse, History

DEFAULT_REMEMBERED = 10_000


class Observations:
    """The observations of one caller, over one stream or several."""

    def __init__(
        self, query: PredictQuery, *, resume: bool, remember: int, max_message_bytes: int
    ) -> None:
        if remember < 1:
            raise ValueError(f"remember is 1 step or more, not {remember}")
        self._query = query
        self._resume = resume
        self._remember = remember
        self._max_bytes = max_message_bytes - query.follow_request(History()).ByteSize()
        self._history = History()  # what was observed, with resume=True
        self._observed_steps = 0
        self._skipped_steps = 0  # no longer remembered when the stream was opened
        self._model = ModelIdentity()

    def read(self, observed: HistoryLike) -> History:
        """The message for an observation; it raises what ``history_from`` raises."""
        return history_from(observed, max_bytes=self._max_bytes)

    def message(self, observed: History, *, is_first: bool) -> FollowRequest:
        """What to send; the first message of a stream also has the remembered history."""
        if not is_first:
            return FollowRequest(observed=observed)
        self._skipped_steps = self._observed_steps - count_steps(self._history)
        # The new steps come on top of what is remembered, so that none is lost.
        keep = self._remember + count_steps(observed)
        return self._query.follow_request(join(self._history, observed, keep=keep))

    def predicted(self, observed: History, response: FollowResponse) -> Prediction:
        """The prediction after an observation, which now is part of the history."""
        if self._resume:
            self._history = join(self._history, observed, keep=self._remember)
        return self.last(response)

    def last(self, response: FollowResponse) -> Prediction:
        """The prediction of a response without an observation of its own."""
        if response.HasField("model"):
            self._model = response.model
        self._observed_steps = self._skipped_steps + response.observed_steps
        return Prediction(
            steps=read_steps(response.steps),
            observed_steps=self._observed_steps,
            model=read_identity(self._model),
            padded_samples=response.padded_samples,
        )

    def is_lost_for_good(self) -> bool:
        """Whether a broken stream had state that cannot be sent again."""
        return self._observed_steps > 0 and not self._resume


def as_retryable(error: SightlineError) -> SightlineError:
    """The same error; lost state (ABORTED) becomes ``Unavailable``, which is retried."""
    if error.code is StatusCode.ABORTED:
        return Unavailable(str(error))
    return error
