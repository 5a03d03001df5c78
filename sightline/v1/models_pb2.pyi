from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    TASK_CLASSIFICATION: _ClassVar[Task]
    TASK_SEGMENTATION: _ClassVar[Task]
    TASK_DETECTION: _ClassVar[Task]
    TASK_SEQUENCE: _ClassVar[Task]
    TASK_TENSORS: _ClassVar[Task]
TASK_UNSPECIFIED: Task
TASK_CLASSIFICATION: Task
TASK_SEGMENTATION: Task
TASK_DETECTION: Task
TASK_SEQUENCE: Task
TASK_TENSORS: Task

class ModelSelector(_message.Message):
    __slots__ = ("name", "version", "label")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    label: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...

class ModelIdentity(_message.Message):
    __slots__ = ("name", "version", "artifact_sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    artifact_sha256: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., artifact_sha256: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("decode_seconds", "queue_seconds", "run_seconds", "total_seconds", "batch_size", "device")
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    decode_seconds: float
    queue_seconds: float
    run_seconds: float
    total_seconds: float
    batch_size: int
    device: str
    def __init__(self, decode_seconds: _Optional[float] = ..., queue_seconds: _Optional[float] = ..., run_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ..., batch_size: _Optional[int] = ..., device: _Optional[str] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, str]] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("identity", "task", "state", "reason", "architecture", "labels", "version_labels", "max_batch_size", "devices", "input_height", "input_width", "input_channels")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[ModelStatus.State]
        STATE_LOADING: _ClassVar[ModelStatus.State]
        STATE_READY: _ClassVar[ModelStatus.State]
        STATE_FAILED: _ClassVar[ModelStatus.State]
    STATE_UNSPECIFIED: ModelStatus.State
    STATE_LOADING: ModelStatus.State
    STATE_READY: ModelStatus.State
    STATE_FAILED: ModelStatus.State
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VERSION_LABELS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUT_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    identity: ModelIdentity
    task: Task
    state: ModelStatus.State
    reason: str
    architecture: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    version_labels: _containers.RepeatedScalarFieldContainer[str]
    max_batch_size: int
    devices: _containers.RepeatedScalarFieldContainer[str]
    input_height: int
    input_width: int
    input_channels: int
    def __init__(self, identity: _Optional[_Union[ModelIdentity, _Mapping]] = ..., task: _Optional[_Union[Task, str]] = ..., state: _Optional[_Union[ModelStatus.State, str]] = ..., reason: _Optional[str] = ..., architecture: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., version_labels: _Optional[_Iterable[str]] = ..., max_batch_size: _Optional[int] = ..., devices: _Optional[_Iterable[str]] = ..., input_height: _Optional[int] = ..., input_width: _Optional[int] = ..., input_channels: _Optional[int] = ...) -> None: ...
