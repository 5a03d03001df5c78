"""``inference.GRPCInferenceService``: the Open Inference Protocol, tensors in and tensors out.

Every ready model can be asked so but sequences, whose states only the decoding engine carries.
"""

import json
import math
import time
from importlib.metadata import version as installed_version

import numpy as np

from service.artifact.manifest import Manifest, Task, TensorSpec
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.pending import Slot
from service.frontend.endpoints.tensor_request import (
    DATATYPES,
    TensorQuestion,
    add_output,
    read_question,
)
from service.frontend.errors import InvalidInput, WrongTask
from service.frontend.interceptors import Call, CallContext
from service.frontend.model_repository import ModelRepository, ServedModel
from service.frontend.request_metrics import Stages, Tally
from service.ipc.doorbell import Outcome
from service.settings import Settings
from sightline.inference import grpc_predict_v2_pb2 as pb
from sightline.inference import grpc_predict_v2_pb2_grpc as pb_grpc
from sightline.v1 import models_pb2

TASKS = tuple(task for task in Task if task is not Task.SEQUENCE)
"""Whose models can be asked with tensors."""
_PLATFORM = "onnx_onnxv1"
_MAX_VERSION_DIGITS = 9


class TensorServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Six calls; only ``ModelInfer`` asks a worker."""

    def __init__(
        self, models: ModelRepository, dispatcher: Dispatcher, settings: Settings, tally: Tally
    ) -> None:
        self._models = models
        self._dispatcher = dispatcher
        self._max_rows = settings.limits.max_items_per_request
        self._max_answer_bytes = settings.server.max_message_bytes
        self._tally = tally

    def ServerLive(
        self, request: pb.ServerLiveRequest, context: CallContext
    ) -> pb.ServerLiveResponse:
        """Who can answer is live."""
        return pb.ServerLiveResponse(live=True)

    def ServerReady(
        self, request: pb.ServerReadyRequest, context: CallContext
    ) -> pb.ServerReadyResponse:
        """Whether any model can be asked here."""
        return pb.ServerReadyResponse(ready=any(map(self._models.tasks().get, TASKS)))

    def ModelReady(
        self, request: pb.ModelReadyRequest, context: CallContext
    ) -> pb.ModelReadyResponse:
        """Whether one model can be asked here; an unknown one is an error."""
        found = self._models.resolve(_selector(request.name, request.version))
        update = found.update if isinstance(found, ServedModel) else found
        if update.task == Task.SEQUENCE:
            raise WrongTask(f"{update.name!r} is a sequence model; ask SequenceService for it")
        return pb.ModelReadyResponse(ready=update.state == "ready")

    def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: CallContext
    ) -> pb.ServerMetadataResponse:
        """No extension of the protocol is offered."""
        return pb.ServerMetadataResponse(name="sightline", version=installed_version("sightline"))

    def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: CallContext
    ) -> pb.ModelMetadataResponse:
        """The tensors of a model that is ready."""
        model = self._models.find(_selector(request.name, request.version), *TASKS)
        manifest = model.manifest
        ready = [
            each.update.version
            for each in self._models.all()
            if isinstance(each, ServedModel)
            and (each.update.name, each.update.state) == (manifest.name, "ready")
        ]
        return pb.ModelMetadataResponse(
            name=manifest.name,
            versions=map(str, ready),
            platform=_PLATFORM,
            inputs=map(_metadata, manifest.inputs),
            outputs=map(_metadata, manifest.outputs),
            properties=_properties(model),
        )

    def ModelInfer(
        self, request: pb.ModelInferRequest, context: CallContext
    ) -> pb.ModelInferResponse:
        """Each line is one station of the request path."""
        call = context.call
        model = self._models.find(_selector(request.model_name, request.model_version), *TASKS)
        call.model = model.update.name
        call.count_for(model.model_id)
        question = read_question(request, model.manifest, self._max_rows)
        self._check_answer_size(question, model.manifest)
        slot = self._reserve(question, model)
        try:
            for place, rows in zip(slot.inputs(), question.inputs, strict=True):
                place[...] = rows
            decode_ns = time.monotonic_ns() - call.received_ns
            outcome = self._run(slot, question.rows, call)
            started_ns = time.monotonic_ns()
            response = _answer(request.id, model, question, slot)
        finally:
            slot.close()
        self._record(call, question.rows, outcome, decode_ns, started_ns)
        return response

    # -- stations

    def _check_answer_size(self, question: TensorQuestion, manifest: Manifest) -> None:
        """Refuse, before the run, an answer that could not be sent."""
        bucket = manifest.shapes[question.variant.bucket]
        size_bytes = question.rows * sum(
            math.prod(spec.row_shape(bucket)) * np.dtype(spec.dtype).itemsize
            for spec in question.outputs
        )
        if size_bytes > self._max_answer_bytes:
            raise InvalidInput(
                f"the answer would have {size_bytes} bytes and a message has at most"
                f" {self._max_answer_bytes}; ask for fewer rows or outputs, or raise"
                " server.max_message_bytes"
            )

    def _reserve(self, question: TensorQuestion, model: ServedModel) -> Slot:
        """Memory for the rows and their answers."""
        variant = question.variant.number
        layout = model.layout(question.rows, variant)
        return self._dispatcher.reserve(model.model_id, layout, variant)

    def _run(self, slot: Slot, rows: int, call: Call) -> Outcome:
        pending = self._dispatcher.submit(slot, rows, call.deadline_ns)
        if not call.on_end(pending.cancel):
            pending.cancel()
        return pending.wait()

    def _record(
        self, call: Call, rows: int, outcome: Outcome, decode_ns: int, started_ns: int
    ) -> None:
        """Write where the time went into the metrics."""
        ended_ns = time.monotonic_ns()
        parts_ns = (
            decode_ns,
            outcome.queue_ns,
            outcome.run_ns,
            ended_ns - started_ns,
            ended_ns - call.received_ns,
        )
        self._tally.stages(call.model, Stages(*(each / 1e9 for each in parts_ns)))
        self._tally.items(call.model, "OK", rows)


def _selector(name: str, version: str) -> models_pb2.ModelSelector:
    """A version is a number or an owner's label; empty: the default one."""
    if not version:
        return models_pb2.ModelSelector(name=name)
    if version.isascii() and version.isdecimal() and len(version) <= _MAX_VERSION_DIGITS:
        return models_pb2.ModelSelector(name=name, version=int(version))
    return models_pb2.ModelSelector(name=name, label=version)


def _answer(
    request_id: str, model: ServedModel, question: TensorQuestion, slot: Slot
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(
        model_name=model.update.name, model_version=str(model.update.version), id=request_id
    )
    specs = model.manifest.outputs_of(with_optional=question.variant.with_optional)
    arrays = {spec.name: array for spec, array in zip(specs, slot.outputs(), strict=True)}
    for spec in question.outputs:
        add_output(response, spec, arrays[spec.name], is_raw=question.is_raw)
    return response


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    sizes = [axis if isinstance(axis, int) else -1 for axis in spec.axes]
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=DATATYPES[spec.dtype], shape=sizes
    )


def _properties(model: ServedModel) -> dict[str, str]:
    manifest = model.manifest
    properties = {
        "version": str(manifest.version),
        "artifact_sha256": model.update.artifact_sha256,
    }
    if manifest.buckets:
        properties["shapes"] = json.dumps(manifest.buckets)
    on_request = [spec.name for spec in manifest.outputs if spec.on_request]
    if on_request:
        properties["on_request"] = ",".join(on_request)
    return properties
