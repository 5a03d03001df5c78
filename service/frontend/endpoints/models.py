"""``sightline.v1.ModelService``: the served models and their states."""

from service.frontend.call import CallContext
from service.frontend.model_repository import ModelRepository, ServedModel
from service.ipc.control import ModelUpdate
from sightline.v1 import models_pb2 as pb
from sightline.v1 import models_pb2_grpc as pb_grpc

_STATES = {
    "loading": pb.ModelStatus.STATE_LOADING,
    "ready": pb.ModelStatus.STATE_READY,
    "failed": pb.ModelStatus.STATE_FAILED,
}
_TASKS = {
    "classification": pb.TASK_CLASSIFICATION,
    "segmentation": pb.TASK_SEGMENTATION,
    "detection": pb.TASK_DETECTION,
    "sequence": pb.TASK_SEQUENCE,
    "tensors": pb.TASK_TENSORS,
    "": pb.TASK_UNSPECIFIED,
}


class ModelServicer(pb_grpc.ModelServiceServicer):
    """Answers from the frontend's own copy of the list, without a worker."""

    def __init__(self, models: ModelRepository) -> None:
        self._models = models

    def ListModels(
        self, request: pb.ListModelsRequest, context: CallContext
    ) -> pb.ListModelsResponse:
        """All versions, without their class labels."""
        every = [_status(served, with_labels=False) for served in self._models.all()]
        wanted = [each for each in every if request.task in (pb.TASK_UNSPECIFIED, each.task)]
        return pb.ListModelsResponse(models=wanted)

    def GetModel(self, request: pb.GetModelRequest, context: CallContext) -> pb.GetModelResponse:
        """One version, ready or not."""
        return pb.GetModelResponse(
            model=_status(self._models.resolve(request.model), with_labels=True)
        )


def _status(served: ServedModel | ModelUpdate, *, with_labels: bool) -> pb.ModelStatus:
    update = served.update if isinstance(served, ServedModel) else served
    status = pb.ModelStatus(
        identity=pb.ModelIdentity(
            name=update.name, version=update.version, artifact_sha256=update.artifact_sha256
        ),
        task=_TASKS[update.task],
        state=_STATES[update.state],
        reason=update.reason,
        version_labels=update.version_labels,
        devices=sorted(set(update.devices)),
    )
    if isinstance(served, ServedModel):
        manifest = served.manifest
        status.architecture = manifest.architecture
        status.max_batch_size = manifest.batching.max_batch_size
        if with_labels:
            status.labels.extend(manifest.labels)
        if manifest.preprocessing:
            status.input_height = manifest.preprocessing.height
            status.input_width = manifest.preprocessing.width
            status.input_channels = manifest.preprocessing.channels
    return status
