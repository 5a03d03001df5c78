"""``sightline.v1.SequenceService``: a history in, its next steps out."""

import time
from collections.abc import Callable, Iterator

from service.artifact.manifest import Task
from service.frontend.call import Call, CallContext
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.errors import InvalidInput, ServiceError, WrongTask
from service.frontend.model_repository import ModelRepository, ServedModel
from service.frontend.request_metrics import RequestMetrics
from service.frontend.sequence.follow import FollowStream
from service.frontend.sequence.generation import Generation, start_generation
from service.frontend.sequence.history import HistoryReader
from service.frontend.sequence.options import (
    ContinuationOptions,
    check_options,
    check_transcription,
)
from service.frontend.sequence.results import (
    PendingContinuation,
    PendingResult,
    raise_if_all_failed,
    try_submit,
    wait,
)
from service.frontend.sequence.steps import add_steps, finish_reason, plan_of
from service.frontend.sequence.stop_exclusion import answered_steps
from service.frontend.sequence.transcription import start_transcription
from service.frontend.timing import record_answer
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
        request_metrics: RequestMetrics,
    ) -> None:
        self._models = models
        self._dispatcher = dispatcher
        self._limits = settings.limits
        self._follow_idle_s = settings.decoding.follow_idle_s
        self._request_metrics = request_metrics
        self._readers: dict[str, HistoryReader] = {}

    def Predict(self, request: pb.PredictRequest, context: CallContext) -> pb.PredictResponse:
        """One call, one or many histories, all answered together."""
        call = context.call
        model = self._find(request.model, call)
        submit = self._submitter(model, request.options, call)
        count, most = len(request.histories), self._limits.max_items_per_request
        if not 1 <= count <= most:
            raise InvalidInput(f"a request holds 1 to {most} histories, this one {count}; split it")
        results: list[PendingResult | ServiceError] = []
        try:
            for history in request.histories:
                results.append(try_submit(submit, history))
            decode_ns = time.monotonic_ns() - call.received_ns
            raise_if_all_failed(results)
            return self._answer(model, results, call, decode_ns)
        finally:
            for each in results:
                if not isinstance(each, ServiceError):
                    each.close()

    def PredictStream(
        self, request: pb.PredictStreamRequest, context: CallContext
    ) -> Iterator[pb.PredictStreamResponse]:
        """One history; steps that are ready at the same time share a message."""
        call = context.call
        model, options = self._open(request.model, request.options, call)
        generation = self._start(model, request.history, options, call, is_streamed=True)
        decode_ns, sent = time.monotonic_ns() - call.received_ns, 0
        slot, section = generation.reservation.slot, model.manifest.sequence
        assert section is not None  # checked when the version was loaded
        try:
            outcome: Outcome | None = None
            while outcome is None:
                complete, outcome = generation.wait_for_steps()
                count, last_text = answered_steps(
                    slot, complete, section, options, is_ended=outcome is not None
                )
                if count == sent and outcome is None:
                    continue
                response = pb.PredictStreamResponse()
                add_steps(response, slot, sent, count, model, options, last_text)
                if not sent:
                    response.model.CopyFrom(model.identity)
                if outcome is not None:
                    response.finish_reason = finish_reason(slot)
                    self._record(model, response.timing, [outcome], call, decode_ns)
                sent = count
                yield response
        finally:
            generation.reservation.close()

    def Follow(
        self, request_iterator: Iterator[pb.FollowRequest], context: CallContext
    ) -> Iterator[pb.FollowResponse]:
        """Observations in, predictions of the next steps out."""
        call = context.call
        stream = FollowStream(self._dispatcher, request_iterator, call, self._follow_idle_s)
        try:
            for request in stream.requests():
                if not stream.is_open:
                    model, options = self._open(request.model, request.options, call)
                    stream.open(model, options, self._reader(model))
                elif request.HasField("model") or request.HasField("options"):
                    raise InvalidInput("model and options belong in the first message only")
                yield stream.observe(request.observed)
                self._request_metrics.add_items(call.model, "OK", 1)
            if (last := stream.finish()) is not None:
                yield last
                self._request_metrics.add_items(call.model, "OK", 1)
        finally:
            stream.close()

    # -- stations

    def _find(self, selector: models_pb2.ModelSelector, call: Call) -> ServedModel:
        model = self._models.find(selector, Task.SEQUENCE)
        call.model = model.update.name
        return model

    def _open(
        self, selector: models_pb2.ModelSelector, options: pb.PredictOptions, call: Call
    ) -> tuple[ServedModel, ContinuationOptions]:
        """The model and options of a request for single steps."""
        model = self._find(selector, call)
        if not model.manifest.is_decoded:
            raise WrongTask(
                f"{model.update.name!r} transcribes whole histories and makes no single steps; use"
                " Predict (on the command line: sightline predict --at-once)"
            )
        return model, self._check(options, model)

    def _check(self, options: pb.PredictOptions, model: ServedModel) -> ContinuationOptions:
        section = model.manifest.sequence
        assert section is not None  # checked when the version was loaded
        return check_options(options, section, self._limits.max_sequence_steps)

    def _submitter(
        self, model: ServedModel, options: pb.PredictOptions, call: Call
    ) -> Callable[[pb.History], PendingResult]:
        """The function that submits each history, after the options are checked."""
        if model.manifest.is_decoded:
            checked = self._check(options, model)
            return lambda history: PendingContinuation(
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
        options: ContinuationOptions,
        call: Call,
        is_streamed: bool = False,
    ) -> Generation:
        elements = self._reader(model).read_all(history)
        plan = plan_of(options, len(elements), reports_steps=is_streamed)
        return start_generation(self._dispatcher, model, elements, plan, call)

    def _answer(
        self,
        model: ServedModel,
        results: list[PendingResult | ServiceError],
        call: Call,
        decode_ns: int,
    ) -> pb.PredictResponse:
        ended = [wait(each) for each in results]
        raise_if_all_failed(ended)
        response = pb.PredictResponse(model=model.identity)
        outcomes: list[Outcome] = []
        for pending, end in zip(results, ended, strict=True):
            result = response.results.add()
            if isinstance(end, ServiceError):
                result.error.code, result.error.message = end.code.value[0], str(end)
                self._request_metrics.add_items(call.model, end.code.name, 1)
                continue
            assert not isinstance(pending, ServiceError)
            outcomes.append(end)
            pending.write(result.continuation)
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
        """Write the times of an answered request into its response and into the metrics."""
        last = max(outcomes, key=lambda each: each.queue_ns + each.run_ns)
        record_answer(
            self._request_metrics,
            call,
            last,
            len(outcomes),
            decode_ns,
            timing=timing,
            device=model.device,
        )

    def _reader(self, model: ServedModel) -> HistoryReader:
        reader = self._readers.get(model.update.artifact_sha256)
        if reader is None:
            section = model.manifest.sequence
            assert section is not None
            reader = HistoryReader(section, self._limits.max_history_elements)
            self._readers[model.update.artifact_sha256] = reader
        return reader
