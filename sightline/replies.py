"""From the server's messages to ``sightline.answers``: pure, shared by both clients."""

from collections.abc import Sequence

from sightline.answers import (
    Classification,
    ItemFailed,
    Label,
    ModelIdentity,
    ModelStatus,
    Outcome,
    State,
    Task,
    Timing,
)
from sightline.errors import ServerError, Unavailable, from_item_error
from sightline.v1 import classification_pb2, models_pb2

_TASKS = {
    models_pb2.TASK_CLASSIFICATION: Task.CLASSIFICATION,
    models_pb2.TASK_SEGMENTATION: Task.SEGMENTATION,
    models_pb2.TASK_DETECTION: Task.DETECTION,
    models_pb2.TASK_SEQUENCE: Task.SEQUENCE,
}
_STATES = {
    models_pb2.ModelStatus.STATE_LOADING: State.LOADING,
    models_pb2.ModelStatus.STATE_READY: State.READY,
    models_pb2.ModelStatus.STATE_FAILED: State.FAILED,
}


def read_classifications(
    response: classification_pb2.ClassifyResponse, *, expected: int
) -> list[Outcome]:
    """One outcome a photo, in the order of the request.

    Raises:
        ServerError: the server answered another number of photos than it was asked about.
    """
    if len(response.results) != expected:
        raise ServerError(f"the server answered {len(response.results)} of {expected} photos")
    model, timing = read_identity(response.model), _read_timing(response.timing)
    return [_read_result(result, model, timing) for result in response.results]


def _read_result(
    result: classification_pb2.ClassifyResult, model: ModelIdentity, timing: Timing
) -> Outcome:
    if not result.HasField("classification"):
        return ItemFailed(from_item_error(result.error.code, result.error.message))
    labels = (
        Label(name=label.name, index=label.index, score=label.score)
        for label in result.classification.labels
    )
    return Classification(labels=tuple(labels), model=model, timing=timing)


def read_identity(identity: models_pb2.ModelIdentity) -> ModelIdentity:
    """The artifact that made an answer."""
    return ModelIdentity(identity.name, identity.version, identity.artifact_sha256)


def _read_timing(timing: models_pb2.Timing) -> Timing:
    return Timing(
        decode_s=timing.decode_seconds,
        queue_s=timing.queue_seconds,
        run_s=timing.run_seconds,
        total_s=timing.total_seconds,
        batch_size=timing.batch_size,
        device=timing.device,
    )


def task_number(task: Task | None) -> models_pb2.Task:
    """The task as the protocol writes it; None: any."""
    return next((n for n, t in _TASKS.items() if t is task), models_pb2.TASK_UNSPECIFIED)


def read_model(status: models_pb2.ModelStatus) -> ModelStatus:
    """One version of a model."""
    return ModelStatus(
        identity=read_identity(status.identity),
        task=_TASKS.get(status.task, Task.UNKNOWN),
        state=_STATES.get(status.state, State.UNKNOWN),
        reason=status.reason,
        architecture=status.architecture,
        labels=tuple(status.labels),
        version_labels=tuple(status.version_labels),
        max_batch_size=status.max_batch_size,
        devices=tuple(status.devices),
        input_height=status.input_height,
        input_width=status.input_width,
        input_channels=status.input_channels,
    )


def are_ready(models: Sequence[ModelStatus]) -> bool:
    """Whether none of the models is still loading and at least one can be asked.

    Raises:
        Unavailable: all of them have failed, so that waiting cannot help.
    """
    if models and all(model.state is State.FAILED for model in models):
        reasons = (f"{m.identity.name}/{m.identity.version}: {m.reason}" for m in models)
        raise Unavailable("; ".join(reasons))
    return any(model.is_ready for model in models) and not any(
        model.state is State.LOADING for model in models
    )


def describe_unready(models: Sequence[ModelStatus]) -> str:
    """What keeps the server from being ready, for people."""
    if not models:
        return "the server has no model"
    return "; ".join(
        f"{m.identity.name}/{m.identity.version} is {m.state}" for m in models if not m.is_ready
    )
