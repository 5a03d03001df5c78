"""What a ``Client`` asks about sequences."""

from collections.abc import Iterable
from typing import Unpack

from sightline.answers import Outcome
from sightline.continuations import Continuation
from sightline.histories import HistoryLike
from sightline.observations import DEFAULT_REMEMBERED, Observations
from sightline.sequence_questions import PredictOptions, PredictQuestion
from sightline.sequence_streams import Follow, StepStream
from sightline.verbs import Verbs


class SequenceVerbs(Verbs):
    """predict: for one history, many, or step by step; follow: observation by observation."""

    def predict(
        self,
        history: HistoryLike,
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[PredictOptions],
    ) -> Continuation:
        """Ask what comes after one history.

        Args:
            history: a text; whole numbers (tokens); or numbers with a point (values), ``[T]`` or
                ``[T, series]``, in the user's own units. Arrays go by their type.
            model: the model's name.
            timeout_s: how long it may take, all attempts together; None: the client's default.
            options: ``version``, ``label``, ``max_steps``, ``temperature``, ``top_k``, ``top_p``,
                ``repetition_penalty``, ``seed``, ``beams``, ``stop``, ``alternatives``,
                ``interval``: see ``PredictOptions``.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` shows the kinds.
            TypeError, ValueError: it is no history, or an option is out of range.
        """
        return self._one(PredictQuestion(model=model, **options), history, timeout_s)

    def predict_many(
        self,
        histories: Iterable[HistoryLike],
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[PredictOptions],
    ) -> list[Outcome[Continuation]]:
        """Ask what comes after each of many histories, as ``classify_many`` does for photos."""
        return self._many(PredictQuestion(model=model, **options), histories, timeout_s)

    def predict_stream(
        self,
        history: HistoryLike,
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[PredictOptions],
    ) -> StepStream:
        """Ask what comes after one history: its steps as they are made.

        ``for step in client.predict_stream(...)``; the stream also has ``finish_reason``,
        ``model`` and ``timing``, and is given up by ``close()`` or ``with``. ``timeout_s`` is the
        longest wait for the next step. It is opened again only while no step has come.
        """
        request = PredictQuestion(model=model, **options).about_one(
            history, max_message_bytes=self._connection.max_message_bytes
        )
        return StepStream(self._caller, request, self._timeout_s(timeout_s))

    def follow(
        self,
        *,
        model: str,
        resume: bool = False,
        remember: int = DEFAULT_REMEMBERED,
        timeout_s: float | None = None,
        **options: Unpack[PredictOptions],
    ) -> Follow:
        """A stream of observations, each answered by what is expected next; for ``with``.

        ``stream.observe(values)`` returns a ``Prediction`` of ``max_steps`` steps. The server keeps
        the state of the stream, and can lose it with the process that holds it: then ``observe``
        raises ``Unavailable`` with the code ABORTED.

        Args:
            model: the model's name.
            resume: when the state or the connection is lost, open another stream and send the
                history again, here, unseen by the caller.
            remember: how many steps (of a text: characters) of the history to keep for that; of a
                longer one the end is sent, and a model that remembers more may answer otherwise.
            timeout_s: longest wait for each prediction; None: the client's default.
            options: as for ``predict``.
        """
        observations = Observations(
            PredictQuestion(model=model, **options),
            resume=resume,
            remember=remember,
            max_message_bytes=self._connection.max_message_bytes,
        )
        return Follow(self._caller, observations, self._timeout_s(timeout_s))
