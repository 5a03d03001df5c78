"""Messages about models -> ``ModelStatus``, ``ModelIdentity``, ``Timing``."""

from collections.abc import Sequence

from sightline.errors import Unavailable
from sightline.results.models import ModelIdentity, ModelStatus, State, Task
from sightline.results.outcomes import Timing
from sightline.v1 import models_pb2

_TASKS = {
    models_pb2.TASK_CLASSIFICATION: Task.CLASSIFICATION,
    models_pb2.TASK_SEGMENTATION: Task.SEGMENTATION,
    models_pb2.TASK_DETECTION: Task.DETECTION,
    models_pb2.TASK_SEQUENCE: Task.SEQUENCE,
    models_pb2.TASK_TENSORS: Task.TENSORS,
}
_STATES = {
    models_pb2.ModelStatus.STATE_LOADING: State.LOADING,
    models_pb2.ModelStatus.STATE_READY: State.READY,
    models_pb2.ModelStatus.STATE_FAILED: State.FAILED,
}


def read_identity(identity: models_pb2.ModelIdentity) -> ModelIdentity:
    """The artifact that made an answer."""
    return ModelIdentity(identity.name, identity.version, identity.artifact_sha256)


def read_timing(timing: models_pb2.Timing) -> Timing:
    """Where the time went."""
    return Timing(
        decode_s=timing.decode_seconds,
        queue_s=timing.queue_seconds,
        run_s=timing.run_seconds,
        total_s=timing.total_seconds,
        batch_size=timing.batch_size,
        device=timing.device,
    )


def task_number(task: Task | None) -> models_pb2.Task:
    """The task's number in the protocol; None is any task."""
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
    """Whether none of the models is still loading and at least one is ready.

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
    """Why the server is not ready, for people."""
    if not models:
        return "the server has no model"
    return "; ".join(
        f"{m.identity.name}/{m.identity.version} is {m.state}" for m in models if not m.is_ready
    )
