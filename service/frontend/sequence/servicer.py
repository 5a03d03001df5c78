"""``sightline.v1.SequenceService``: a history in, what comes next out."""

import time
from collections.abc import Callable, Iterator

from service.artifact.manifest import Task
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.errors import InvalidInput, ServiceError, WrongTask
from service.frontend.interceptors import Call, CallContext
from service.frontend.model_repository import ModelRepository, ServedModel
from service.frontend.request_metrics import Stages, Tally
from service.frontend.sequence.follow import FollowStream
from service.frontend.sequence.generation import Generation, start_generation
from service.frontend.sequence.history import HistoryReader
from service.frontend.sequence.options import Options, check_options, check_transcription
from service.frontend.sequence.results import Asked, Continued, raise_if_none, try_ask, wait
from service.frontend.sequence.steps import add_steps, finish_reason, plan_of
from service.frontend.sequence.transcription import start_transcription
from service.ipc.doorbell import Outcome
from service.settings import Settings
from sightline.v1 import models_pb2
from sightline.v1 import sequence_pb2 as pb
from sightline.v1 import sequence_pb2_grpc as pb_grpc


class SequenceServicer(pb_grpc.SequenceServiceServicer):
    """Each line of an endpoint is one station of the request path."""

    def __init__(
        self,
        models: ModelRepository,
        dispatcher: Dispatcher,
        settings: Settings,
        tally: Tally,
    ) -> None:
        self._models = models
        self._dispatcher = dispatcher
        self._limits = settings.limits
        self._follow_idle_s = settings.decoding.follow_idle_s
        self._tally = tally
        self._readers: dict[str, HistoryReader] = {}

    def Predict(self, request: pb.PredictRequest, context: CallContext) -> pb.PredictResponse:
        """One call, one or many histories, all continued together."""
        call = context.call
        model = self._find(request.model, call)
        ask = self._asker(model, request.options, call)
        count, most = len(request.histories), self._limits.max_items_per_request
        if not 1 <= count <= most:
            raise InvalidInput(f"a request holds 1 to {most} histories, this one {count}; split it")
        asked: list[Asked | ServiceError] = []
        try:
            for history in request.histories:
                asked.append(try_ask(ask, history))
            decode_ns = time.monotonic_ns() - call.received_ns
            raise_if_none(asked)
            return self._answer(model, asked, call, decode_ns)
        finally:
            for each in asked:
                if not isinstance(each, ServiceError):
                    each.close()

    def PredictStream(
        self, request: pb.PredictStreamRequest, context: CallContext
    ) -> Iterator[pb.PredictStreamResponse]:
        """One history; steps that are ready together share a message."""
        call = context.call
        model, options = self._open(request.model, request.options, call)
        generation = self._start(model, request.history, options, call, is_streamed=True)
        decode_ns, sent = time.monotonic_ns() - call.received_ns, 0
        try:
            outcome: Outcome | None = None
            while outcome is None:
                count, outcome = generation.wait_for_news()
                if count == sent and outcome is None:
                    continue
                response = pb.PredictStreamResponse()
                add_steps(response, generation.room.slot, sent, count, model, options)
                if not sent:
                    response.model.CopyFrom(model.identity)
                if outcome is not None:
                    response.finish_reason = finish_reason(generation.room.slot)
                    self._record(model, response.timing, [outcome], call, decode_ns)
                sent = count
                yield response
        finally:
            generation.room.close()

    def Follow(
        self, request_iterator: Iterator[pb.FollowRequest], context: CallContext
    ) -> Iterator[pb.FollowResponse]:
        """Observations in, the prediction for the next one out."""
        call = context.call
        stream = FollowStream(self._dispatcher, request_iterator, call, self._follow_idle_s)
        try:
            for request in stream.requests():
                if not stream.is_open:
                    model, options = self._open(request.model, request.options, call)
                    stream.open(model, options, self._reader(model))
                elif request.HasField("model") or request.HasField("options"):
                    raise InvalidInput("model and options belong into the first message only")
                yield stream.observe(request.observed)
                self._tally.items(call.model, "OK", 1)
        finally:
            stream.close()

    # -- stations

    def _find(self, selector: models_pb2.ModelSelector, call: Call) -> ServedModel:
        model = self._models.find(selector, Task.SEQUENCE)
        call.model = model.update.name
        return model

    def _open(
        self, selector: models_pb2.ModelSelector, options: pb.PredictOptions, call: Call
    ) -> tuple[ServedModel, Options]:
        """For what goes step by step."""
        model = self._find(selector, call)
        if not model.manifest.is_decoded:
            raise WrongTask(
                f"{model.update.name!r} transcribes whole histories and makes no steps one by one;"
                " ask Predict for it (on the command line: sightline predict --at-once)"
            )
        return model, self._check(options, model)

    def _check(self, options: pb.PredictOptions, model: ServedModel) -> Options:
        section = model.manifest.sequence
        assert section is not None  # checked when the version was taken over
        return check_options(options, section, self._limits.max_sequence_steps)

    def _asker(
        self, model: ServedModel, options: pb.PredictOptions, call: Call
    ) -> Callable[[pb.History], Asked]:
        """How each history is asked about, once the options are checked."""
        if model.manifest.is_decoded:
            checked = self._check(options, model)
            return lambda history: Continued(
                self._start(model, history, checked, call), model, checked
            )
        wanted = check_transcription(options, self._limits.max_sequence_steps)
        reader = self._reader(model)
        return lambda history: start_transcription(
            self._dispatcher, model, reader.read(history), wanted, call
        )

    def _start(
        self,
        model: ServedModel,
        history: pb.History,
        options: Options,
        call: Call,
        is_streamed: bool = False,
    ) -> Generation:
        elements = self._reader(model).read_all(history)
        plan = plan_of(options, len(elements), reports_steps=is_streamed)
        return start_generation(self._dispatcher, model, elements, plan, call)

    def _answer(
        self,
        model: ServedModel,
        asked: list[Asked | ServiceError],
        call: Call,
        decode_ns: int,
    ) -> pb.PredictResponse:
        ended = [wait(each) for each in asked]
        raise_if_none(ended)
        response = pb.PredictResponse(model=model.identity)
        outcomes: list[Outcome] = []
        for each, end in zip(asked, ended, strict=True):
            result = response.results.add()
            if isinstance(end, ServiceError):
                result.error.code, result.error.message = end.code.value[0], str(end)
                self._tally.items(call.model, end.code.name, 1)
                continue
            assert not isinstance(each, ServiceError)
            outcomes.append(end)
            each.write(result.continuation)
        self._record(model, response.timing, outcomes, call, decode_ns)
        return response

    def _record(
        self,
        model: ServedModel,
        timing: models_pb2.Timing,
        outcomes: list[Outcome],
        call: Call,
        decode_ns: int,
    ) -> None:
        """Write where an answered request's time went, into its answer and into the metrics."""
        last = max(outcomes, key=lambda each: each.queue_ns + each.run_ns)
        timing.decode_seconds = decode_s = decode_ns / 1e9
        timing.queue_seconds = queue_s = last.queue_ns / 1e9
        timing.run_seconds = run_s = last.run_ns / 1e9
        timing.total_seconds = total_s = (time.monotonic_ns() - call.received_ns) / 1e9
        timing.batch_size = last.batch_size
        timing.device = model.device
        post_s = max(0.0, total_s - decode_s - queue_s - run_s)
        self._tally.stages(call.model, Stages(decode_s, queue_s, run_s, post_s, total_s))
        self._tally.items(call.model, "OK", len(outcomes))

    def _reader(self, model: ServedModel) -> HistoryReader:
        reader = self._readers.get(model.update.artifact_sha256)
        if reader is None:
            section = model.manifest.sequence
            assert section is not None
            reader = HistoryReader(section, self._limits.max_history_elements)
            self._readers[model.update.artifact_sha256] = reader
        return reader
