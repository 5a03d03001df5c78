"""What comes next in a sequence."""

from collections.abc import Sequence

from sightline._async.glue import Items
from sightline._async.methods import Methods
from sightline._async.streams import AsyncFollow, AsyncStepStream
from sightline.requests.histories import HistoryLike
from sightline.requests.observations import DEFAULT_REMEMBERED, Observations
from sightline.requests.sequence_queries import PredictQuery
from sightline.results.continuation import Continuation
from sightline.results.outcomes import Outcome


class SequenceMethods(Methods):
    """predict: one history, many, or step by step; follow: observation by observation."""

    async def predict(
        self,
        history: HistoryLike,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        beams: int | None = None,
        stop: Sequence[str] = (),
        exclude_stop: bool = False,
        alternatives: int = 0,
        interval: float | None = None,
        timeout_s: float | None = None,
    ) -> Continuation:
        """Return the continuation of one history.

        Models of numbers take ``max_steps`` and ``interval`` only; models that transcribe (CTC)
        take ``max_steps`` and ``beams`` only.

        Args:
            history: a text; whole numbers (tokens); or floating-point numbers (values), ``[T]`` or
                ``[T, series]``, in the user's own units. The type of an array decides.
            model: the model's name.
            version: the version's number; without it and ``label``, the stable version.
            label: the owner's name for the version, such as ``canary``.
            max_steps: how many steps to make at most; None is 1, or a whole transcription.
            temperature: divides the logits, up to 10; 0 and None choose the likeliest step.
            top_k: choose among the k likeliest only.
            top_p: choose among the likeliest that together reach this probability, over 0, to 1.
            repetition_penalty: divides the logits of tokens that occurred already, 1 to 10; 1 is
                none.
            seed: makes a sampled answer repeatable.
            beams: beams of a beam search, 1 to 16; 1 is no search. Not with ``temperature``.
            stop: end with the first token that completes one of these strings, 16 at most. The
                string is the end of the answer.
            exclude_stop: leave the stop string, or the end token, out of the answer.
            alternatives: how many likely tokens to report for each step, 0 to 20.
            interval: for numbers, the share of outcomes that lower..upper should cover, between 0
                and 1; None is 0.9.
            timeout_s: how long all attempts together may take; None is the client's default.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` lists the kinds.
            TypeError, ValueError: it is no history, or an option is out of range.
        """
        query = PredictQuery(
            model=model,
            version=version,
            label=label,
            max_steps=max_steps,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            beams=beams,
            stop=stop,
            exclude_stop=exclude_stop,
            alternatives=alternatives,
            interval=interval,
        )
        return await self._one(query, history, timeout_s)

    async def predict_many(
        self,
        histories: Items[HistoryLike],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        beams: int | None = None,
        stop: Sequence[str] = (),
        exclude_stop: bool = False,
        alternatives: int = 0,
        interval: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Outcome[Continuation]]:
        """Continue many histories as ``classify_many`` does; options as for ``predict``."""
        query = PredictQuery(
            model=model,
            version=version,
            label=label,
            max_steps=max_steps,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            beams=beams,
            stop=stop,
            exclude_stop=exclude_stop,
            alternatives=alternatives,
            interval=interval,
        )
        return await self._many(query, histories, timeout_s)

    def predict_stream(
        self,
        history: HistoryLike,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        beams: int | None = None,
        stop: Sequence[str] = (),
        exclude_stop: bool = False,
        alternatives: int = 0,
        interval: float | None = None,
        timeout_s: float | None = None,
    ) -> AsyncStepStream:
        """Return the steps of one continuation as they are made; options as for ``predict``.

        Iterate over the stream. It also has ``finish_reason``, ``model`` and ``timing``;
        ``close()`` or ``async with`` ends it early. ``timeout_s`` is the longest wait for the next
        step. A broken stream is opened again only before its first step.
        """
        query = PredictQuery(
            model=model,
            version=version,
            label=label,
            max_steps=max_steps,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            beams=beams,
            stop=stop,
            exclude_stop=exclude_stop,
            alternatives=alternatives,
            interval=interval,
        )
        request = query.stream_request(
            history, max_message_bytes=self._connection.max_message_bytes
        )
        return AsyncStepStream(self._caller, request, self._timeout_s(timeout_s))

    def follow(
        self,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        beams: int | None = None,
        stop: Sequence[str] = (),
        exclude_stop: bool = False,
        alternatives: int = 0,
        interval: float | None = None,
        resume: bool = False,
        remember: int = DEFAULT_REMEMBERED,
        timeout_s: float | None = None,
    ) -> AsyncFollow:
        """Open a stream of observations, each answered by a prediction; for ``async with``.

        ``stream.observe(values)`` returns a ``Prediction`` of ``max_steps`` steps. The server keeps
        the state of the stream in one process, and loses it with that process: then ``observe``
        raises ``Unavailable`` with the code ABORTED.

        Args:
            model: the model's name.
            version: the version's number; without it and ``label``, the stable version.
            label: the owner's name for the version, such as ``canary``.
            max_steps: how many steps to predict after each observation; None is 1.
            temperature: divides the logits, up to 10; 0 and None choose the likeliest step.
            top_k: choose among the k likeliest only.
            top_p: choose among the likeliest that together reach this probability, over 0, to 1.
            repetition_penalty: divides the logits of tokens that occurred already, 1 to 10; 1 is
                none.
            seed: makes a sampled answer repeatable.
            beams: beams of a beam search, 1 to 16; 1 is no search. Not with ``temperature``.
            stop: end with the first token that completes one of these strings, 16 at most. The
                string is the end of the answer.
            exclude_stop: leave the stop string, or the end token, out of the answer.
            alternatives: how many likely tokens to report for each step, 0 to 20.
            interval: for numbers, the share of outcomes that lower..upper should cover, between 0
                and 1; None is 0.9.
            resume: when the state or the connection is lost, open another stream and send the
                history again; the caller does not notice.
            remember: how many steps (of a text: characters) of the history to keep for ``resume``.
                Of a longer history the end is sent, so a model with a longer memory may answer
                differently.
            timeout_s: longest wait for each prediction; None is the client's default.
        """
        query = PredictQuery(
            model=model,
            version=version,
            label=label,
            max_steps=max_steps,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            beams=beams,
            stop=stop,
            exclude_stop=exclude_stop,
            alternatives=alternatives,
            interval=interval,
        )
        observations = Observations(
            query,
            resume=resume,
            remember=remember,
            max_message_bytes=self._connection.max_message_bytes,
        )
        return AsyncFollow(self._caller, observations, self._timeout_s(timeout_s))
