from sightline.v1 import image_pb2 as _image_pb2
from sightline.v1 import models_pb2 as _models_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Suppression(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUPPRESSION_UNSPECIFIED: _ClassVar[Suppression]
    SUPPRESSION_PER_CLASS: _ClassVar[Suppression]
    SUPPRESSION_CLASS_AGNOSTIC: _ClassVar[Suppression]
    SUPPRESSION_SOFT: _ClassVar[Suppression]
SUPPRESSION_UNSPECIFIED: Suppression
SUPPRESSION_PER_CLASS: Suppression
SUPPRESSION_CLASS_AGNOSTIC: Suppression
SUPPRESSION_SOFT: Suppression

class Box(_message.Message):
    __slots__ = ("x1", "y1", "x2", "y2")
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    X2_FIELD_NUMBER: _ClassVar[int]
    Y2_FIELD_NUMBER: _ClassVar[int]
    x1: float
    y1: float
    x2: float
    y2: float
    def __init__(self, x1: _Optional[float] = ..., y1: _Optional[float] = ..., x2: _Optional[float] = ..., y2: _Optional[float] = ...) -> None: ...

class DetectRequest(_message.Message):
    __slots__ = ("model", "images", "score_threshold", "iou_threshold", "max_detections", "labels", "suppression", "proposals")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    SCORE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    IOU_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSION_FIELD_NUMBER: _ClassVar[int]
    PROPOSALS_FIELD_NUMBER: _ClassVar[int]
    model: _models_pb2.ModelSelector
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    score_threshold: float
    iou_threshold: float
    max_detections: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    suppression: Suppression
    proposals: _containers.RepeatedCompositeFieldContainer[Proposals]
    def __init__(self, model: _Optional[_Union[_models_pb2.ModelSelector, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., score_threshold: _Optional[float] = ..., iou_threshold: _Optional[float] = ..., max_detections: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., suppression: _Optional[_Union[Suppression, str]] = ..., proposals: _Optional[_Iterable[_Union[Proposals, _Mapping]]] = ...) -> None: ...

class Proposals(_message.Message):
    __slots__ = ("boxes",)
    BOXES_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedCompositeFieldContainer[Box]
    def __init__(self, boxes: _Optional[_Iterable[_Union[Box, _Mapping]]] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("results", "model", "timing")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[DetectResult]
    model: _models_pb2.ModelIdentity
    timing: _models_pb2.Timing
    def __init__(self, results: _Optional[_Iterable[_Union[DetectResult, _Mapping]]] = ..., model: _Optional[_Union[_models_pb2.ModelIdentity, _Mapping]] = ..., timing: _Optional[_Union[_models_pb2.Timing, _Mapping]] = ...) -> None: ...

class DetectResult(_message.Message):
    __slots__ = ("detections", "error")
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    detections: Detections
    error: _models_pb2.ItemError
    def __init__(self, detections: _Optional[_Union[Detections, _Mapping]] = ..., error: _Optional[_Union[_models_pb2.ItemError, _Mapping]] = ...) -> None: ...

class Detections(_message.Message):
    __slots__ = ("detections", "image_height", "image_width")
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    detections: _containers.RepeatedCompositeFieldContainer[Detection]
    image_height: int
    image_width: int
    def __init__(self, detections: _Optional[_Iterable[_Union[Detection, _Mapping]]] = ..., image_height: _Optional[int] = ..., image_width: _Optional[int] = ...) -> None: ...

class Detection(_message.Message):
    __slots__ = ("box", "label", "index", "score", "mask_coco_rle", "keypoints")
    BOX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MASK_COCO_RLE_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    box: Box
    label: str
    index: int
    score: float
    mask_coco_rle: bytes
    keypoints: _containers.RepeatedCompositeFieldContainer[Keypoint]
    def __init__(self, box: _Optional[_Union[Box, _Mapping]] = ..., label: _Optional[str] = ..., index: _Optional[int] = ..., score: _Optional[float] = ..., mask_coco_rle: _Optional[bytes] = ..., keypoints: _Optional[_Iterable[_Union[Keypoint, _Mapping]]] = ...) -> None: ...

class Keypoint(_message.Message):
    __slots__ = ("x", "y", "score", "name")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    score: float
    name: str
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., score: _Optional[float] = ..., name: _Optional[str] = ...) -> None: ...

class DetectStreamRequest(_message.Message):
    __slots__ = ("id", "request")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    id: int
    request: DetectRequest
    def __init__(self, id: _Optional[int] = ..., request: _Optional[_Union[DetectRequest, _Mapping]] = ...) -> None: ...

class DetectStreamResponse(_message.Message):
    __slots__ = ("id", "response", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    response: DetectResponse
    error: _models_pb2.ItemError
    def __init__(self, id: _Optional[int] = ..., response: _Optional[_Union[DetectResponse, _Mapping]] = ..., error: _Optional[_Union[_models_pb2.ItemError, _Mapping]] = ...) -> None: ...
