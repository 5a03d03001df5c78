from sightline.v1 import models_pb2 as _models_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STEPS: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_CONTEXT: _ClassVar[FinishReason]
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STEPS: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_CONTEXT: FinishReason

class History(_message.Message):
    __slots__ = ("text", "tokens", "values")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    text: str
    tokens: Tokens
    values: Values
    def __init__(self, text: _Optional[str] = ..., tokens: _Optional[_Union[Tokens, _Mapping]] = ..., values: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...

class Tokens(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ids: _Optional[_Iterable[int]] = ...) -> None: ...

class Values(_message.Message):
    __slots__ = ("values", "series")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    series: int
    def __init__(self, values: _Optional[_Iterable[float]] = ..., series: _Optional[int] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("temperature", "top_k", "top_p", "repetition_penalty", "seed", "beams")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BEAMS_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int
    beams: int
    def __init__(self, temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., seed: _Optional[int] = ..., beams: _Optional[int] = ...) -> None: ...

class PredictOptions(_message.Message):
    __slots__ = ("max_steps", "sampling", "stop", "top_alternatives", "interval", "exclude_stop")
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    TOP_ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_STOP_FIELD_NUMBER: _ClassVar[int]
    max_steps: int
    sampling: Sampling
    stop: _containers.RepeatedScalarFieldContainer[str]
    top_alternatives: int
    interval: float
    exclude_stop: bool
    def __init__(self, max_steps: _Optional[int] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., stop: _Optional[_Iterable[str]] = ..., top_alternatives: _Optional[int] = ..., interval: _Optional[float] = ..., exclude_stop: _Optional[bool] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("model", "histories", "options")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HISTORIES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model: _models_pb2.ModelSelector
    histories: _containers.RepeatedCompositeFieldContainer[History]
    options: PredictOptions
    def __init__(self, model: _Optional[_Union[_models_pb2.ModelSelector, _Mapping]] = ..., histories: _Optional[_Iterable[_Union[History, _Mapping]]] = ..., options: _Optional[_Union[PredictOptions, _Mapping]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("results", "model", "timing")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[PredictResult]
    model: _models_pb2.ModelIdentity
    timing: _models_pb2.Timing
    def __init__(self, results: _Optional[_Iterable[_Union[PredictResult, _Mapping]]] = ..., model: _Optional[_Union[_models_pb2.ModelIdentity, _Mapping]] = ..., timing: _Optional[_Union[_models_pb2.Timing, _Mapping]] = ...) -> None: ...

class PredictResult(_message.Message):
    __slots__ = ("continuation", "error")
    CONTINUATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    continuation: Continuation
    error: _models_pb2.ItemError
    def __init__(self, continuation: _Optional[_Union[Continuation, _Mapping]] = ..., error: _Optional[_Union[_models_pb2.ItemError, _Mapping]] = ...) -> None: ...

class Continuation(_message.Message):
    __slots__ = ("steps", "text", "finish_reason")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    text: str
    finish_reason: FinishReason
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., text: _Optional[str] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("text", "token", "log_probability", "alternatives", "values", "lower", "upper")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    text: str
    token: int
    log_probability: float
    alternatives: _containers.RepeatedCompositeFieldContainer[Alternative]
    values: _containers.RepeatedScalarFieldContainer[float]
    lower: _containers.RepeatedScalarFieldContainer[float]
    upper: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, text: _Optional[str] = ..., token: _Optional[int] = ..., log_probability: _Optional[float] = ..., alternatives: _Optional[_Iterable[_Union[Alternative, _Mapping]]] = ..., values: _Optional[_Iterable[float]] = ..., lower: _Optional[_Iterable[float]] = ..., upper: _Optional[_Iterable[float]] = ...) -> None: ...

class Alternative(_message.Message):
    __slots__ = ("text", "token", "log_probability")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    text: str
    token: int
    log_probability: float
    def __init__(self, text: _Optional[str] = ..., token: _Optional[int] = ..., log_probability: _Optional[float] = ...) -> None: ...

class PredictStreamRequest(_message.Message):
    __slots__ = ("model", "history", "options")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model: _models_pb2.ModelSelector
    history: History
    options: PredictOptions
    def __init__(self, model: _Optional[_Union[_models_pb2.ModelSelector, _Mapping]] = ..., history: _Optional[_Union[History, _Mapping]] = ..., options: _Optional[_Union[PredictOptions, _Mapping]] = ...) -> None: ...

class PredictStreamResponse(_message.Message):
    __slots__ = ("steps", "finish_reason", "model", "timing")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    finish_reason: FinishReason
    model: _models_pb2.ModelIdentity
    timing: _models_pb2.Timing
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., model: _Optional[_Union[_models_pb2.ModelIdentity, _Mapping]] = ..., timing: _Optional[_Union[_models_pb2.Timing, _Mapping]] = ...) -> None: ...

class FollowRequest(_message.Message):
    __slots__ = ("model", "observed", "options")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model: _models_pb2.ModelSelector
    observed: History
    options: PredictOptions
    def __init__(self, model: _Optional[_Union[_models_pb2.ModelSelector, _Mapping]] = ..., observed: _Optional[_Union[History, _Mapping]] = ..., options: _Optional[_Union[PredictOptions, _Mapping]] = ...) -> None: ...

class FollowResponse(_message.Message):
    __slots__ = ("steps", "observed_steps", "model", "padded_samples")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_STEPS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PADDED_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    observed_steps: int
    model: _models_pb2.ModelIdentity
    padded_samples: int
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., observed_steps: _Optional[int] = ..., model: _Optional[_Union[_models_pb2.ModelIdentity, _Mapping]] = ..., padded_samples: _Optional[int] = ...) -> None: ...
