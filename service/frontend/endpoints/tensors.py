"""``inference.GRPCInferenceService``: the Open Inference Protocol, tensors in and tensors out.

For every ready model except sequence models: only the decoding engine keeps their states.
"""

import json
import math
import time
from importlib.metadata import version as installed_version

import numpy as np

from service.artifact.manifest import Manifest, Task, TensorSpec
from service.frontend.call import CallContext
from service.frontend.dispatch.dispatcher import Dispatcher
from service.frontend.dispatch.slots import Slot
from service.frontend.endpoints.tensor_request import (
    DATATYPES,
    TensorRequest,
    add_output,
    read_request,
)
from service.frontend.errors import InvalidInput, WrongTask
from service.frontend.model_repository import ModelRepository, ServedModel
from service.frontend.request_metrics import RequestMetrics
from service.frontend.timing import record_answer
from service.settings import Settings
from sightline.inference import grpc_predict_v2_pb2 as pb
from sightline.inference import grpc_predict_v2_pb2_grpc as pb_grpc
from sightline.v1 import models_pb2

TASKS = tuple(task for task in Task if task is not Task.SEQUENCE)
"""The tasks of models that take tensors."""
_PLATFORM = "onnx_onnxv1"
_MAX_VERSION_DIGITS = 9


class TensorServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Six methods; only ``ModelInfer`` needs a worker."""

    def __init__(
        self,
        models: ModelRepository,
        dispatcher: Dispatcher,
        settings: Settings,
        request_metrics: RequestMetrics,
    ) -> None:
        self._models = models
        self._dispatcher = dispatcher
        self._max_rows = settings.limits.max_items_per_request
        self._max_answer_bytes = settings.server.max_message_bytes
        self._request_metrics = request_metrics

    def ServerLive(
        self, request: pb.ServerLiveRequest, context: CallContext
    ) -> pb.ServerLiveResponse:
        """A server that can answer is live."""
        return pb.ServerLiveResponse(live=True)

    def ServerReady(
        self, request: pb.ServerReadyRequest, context: CallContext
    ) -> pb.ServerReadyResponse:
        """Whether any model is ready here."""
        return pb.ServerReadyResponse(ready=any(map(self._models.tasks().get, TASKS)))

    def ModelReady(
        self, request: pb.ModelReadyRequest, context: CallContext
    ) -> pb.ModelReadyResponse:
        """Whether one model is ready here; an unknown model is an error."""
        found = self._models.resolve(_selector(request.name, request.version))
        update = found.update if isinstance(found, ServedModel) else found
        if update.task == Task.SEQUENCE:
            raise WrongTask(f"{update.name!r} is a sequence model; use SequenceService")
        return pb.ModelReadyResponse(ready=update.state == "ready")

    def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: CallContext
    ) -> pb.ServerMetadataResponse:
        """Name and version of the server, which has no extensions of the protocol."""
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
        tensor_request = read_request(request, model.manifest, self._max_rows)
        self._check_answer_size(tensor_request, model.manifest)
        slot = self._reserve(tensor_request, model)
        try:
            for place, rows in zip(slot.inputs(), tensor_request.inputs, strict=True):
                place[...] = rows
            decode_ns = time.monotonic_ns() - call.received_ns
            outcome = self._dispatcher.submit(slot, tensor_request.rows, call).wait()
            started_ns = time.monotonic_ns()
            response = _respond(request.id, model, tensor_request, slot)
        finally:
            slot.close()
        record_answer(
            self._request_metrics, call, outcome, tensor_request.rows, decode_ns, started_ns
        )
        return response

    # -- stations

    def _check_answer_size(self, request: TensorRequest, manifest: Manifest) -> None:
        """Refuse, before the run, a request with an answer that could not be sent."""
        bucket = manifest.shapes[request.variant.bucket]
        size_bytes = request.rows * sum(
            math.prod(spec.row_shape(bucket)) * np.dtype(spec.dtype).itemsize
            for spec in request.outputs
        )
        if size_bytes > self._max_answer_bytes:
            raise InvalidInput(
                f"the answer would have {size_bytes} bytes and a message has at most"
                f" {self._max_answer_bytes}; ask for fewer rows or outputs, or raise"
                " server.max_message_bytes"
            )

    def _reserve(self, request: TensorRequest, model: ServedModel) -> Slot:
        """Memory for the rows and their outputs."""
        variant = request.variant.number
        layout = model.layout(request.rows, variant)
        return self._dispatcher.reserve(model.model_id, layout, variant)


def _selector(name: str, version: str) -> models_pb2.ModelSelector:
    """A version is a number or a version label; empty: the default version."""
    if not version:
        return models_pb2.ModelSelector(name=name)
    if version.isascii() and version.isdecimal() and len(version) <= _MAX_VERSION_DIGITS:
        return models_pb2.ModelSelector(name=name, version=int(version))
    return models_pb2.ModelSelector(name=name, label=version)


def _respond(
    request_id: str, model: ServedModel, request: TensorRequest, slot: Slot
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(
        model_name=model.update.name, model_version=str(model.update.version), id=request_id
    )
    specs = model.manifest.outputs_of(with_optional=request.variant.with_optional)
    arrays = {spec.name: array for spec, array in zip(specs, slot.outputs(), strict=True)}
    for spec in request.outputs:
        add_output(response, spec, arrays[spec.name], is_raw=request.is_raw)
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
