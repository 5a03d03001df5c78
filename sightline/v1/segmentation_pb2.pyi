from sightline.v1 import image_pb2 as _image_pb2
from sightline.v1 import models_pb2 as _models_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MaskEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_ENCODING_UNSPECIFIED: _ClassVar[MaskEncoding]
    MASK_ENCODING_PNG: _ClassVar[MaskEncoding]
    MASK_ENCODING_COCO_RLE: _ClassVar[MaskEncoding]
    MASK_ENCODING_RAW: _ClassVar[MaskEncoding]

class MaskSize(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_SIZE_UNSPECIFIED: _ClassVar[MaskSize]
    MASK_SIZE_ORIGINAL: _ClassVar[MaskSize]
    MASK_SIZE_MODEL: _ClassVar[MaskSize]
MASK_ENCODING_UNSPECIFIED: MaskEncoding
MASK_ENCODING_PNG: MaskEncoding
MASK_ENCODING_COCO_RLE: MaskEncoding
MASK_ENCODING_RAW: MaskEncoding
MASK_SIZE_UNSPECIFIED: MaskSize
MASK_SIZE_ORIGINAL: MaskSize
MASK_SIZE_MODEL: MaskSize

class SegmentRequest(_message.Message):
    __slots__ = ("model", "images", "mask_encoding", "mask_size", "score_map_labels", "include_overlay", "include_polygons")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MASK_ENCODING_FIELD_NUMBER: _ClassVar[int]
    MASK_SIZE_FIELD_NUMBER: _ClassVar[int]
    SCORE_MAP_LABELS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_OVERLAY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_POLYGONS_FIELD_NUMBER: _ClassVar[int]
    model: _models_pb2.ModelSelector
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    mask_encoding: MaskEncoding
    mask_size: MaskSize
    score_map_labels: _containers.RepeatedScalarFieldContainer[str]
    include_overlay: bool
    include_polygons: bool
    def __init__(self, model: _Optional[_Union[_models_pb2.ModelSelector, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., mask_encoding: _Optional[_Union[MaskEncoding, str]] = ..., mask_size: _Optional[_Union[MaskSize, str]] = ..., score_map_labels: _Optional[_Iterable[str]] = ..., include_overlay: _Optional[bool] = ..., include_polygons: _Optional[bool] = ...) -> None: ...

class SegmentResponse(_message.Message):
    __slots__ = ("results", "model", "timing")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SegmentResult]
    model: _models_pb2.ModelIdentity
    timing: _models_pb2.Timing
    def __init__(self, results: _Optional[_Iterable[_Union[SegmentResult, _Mapping]]] = ..., model: _Optional[_Union[_models_pb2.ModelIdentity, _Mapping]] = ..., timing: _Optional[_Union[_models_pb2.Timing, _Mapping]] = ...) -> None: ...

class SegmentResult(_message.Message):
    __slots__ = ("segmentation", "error")
    SEGMENTATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    segmentation: Segmentation
    error: _models_pb2.ItemError
    def __init__(self, segmentation: _Optional[_Union[Segmentation, _Mapping]] = ..., error: _Optional[_Union[_models_pb2.ItemError, _Mapping]] = ...) -> None: ...

class Segmentation(_message.Message):
    __slots__ = ("height", "width", "mask_encoding", "mask", "regions", "score_maps", "overlay_png")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MASK_ENCODING_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    SCORE_MAPS_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_PNG_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    mask_encoding: MaskEncoding
    mask: bytes
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    score_maps: _containers.RepeatedCompositeFieldContainer[ScoreMap]
    overlay_png: bytes
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., mask_encoding: _Optional[_Union[MaskEncoding, str]] = ..., mask: _Optional[bytes] = ..., regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ..., score_maps: _Optional[_Iterable[_Union[ScoreMap, _Mapping]]] = ..., overlay_png: _Optional[bytes] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("label", "index", "pixel_count", "share", "mean_score", "coco_rle", "polygons")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PIXEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    COCO_RLE_FIELD_NUMBER: _ClassVar[int]
    POLYGONS_FIELD_NUMBER: _ClassVar[int]
    label: str
    index: int
    pixel_count: int
    share: float
    mean_score: float
    coco_rle: bytes
    polygons: _containers.RepeatedCompositeFieldContainer[Polygon]
    def __init__(self, label: _Optional[str] = ..., index: _Optional[int] = ..., pixel_count: _Optional[int] = ..., share: _Optional[float] = ..., mean_score: _Optional[float] = ..., coco_rle: _Optional[bytes] = ..., polygons: _Optional[_Iterable[_Union[Polygon, _Mapping]]] = ...) -> None: ...

class Polygon(_message.Message):
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, points: _Optional[_Iterable[float]] = ...) -> None: ...

class ScoreMap(_message.Message):
    __slots__ = ("label", "png")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    label: str
    png: bytes
    def __init__(self, label: _Optional[str] = ..., png: _Optional[bytes] = ...) -> None: ...

class SegmentStreamRequest(_message.Message):
    __slots__ = ("id", "request")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    id: int
    request: SegmentRequest
    def __init__(self, id: _Optional[int] = ..., request: _Optional[_Union[SegmentRequest, _Mapping]] = ...) -> None: ...

class SegmentStreamResponse(_message.Message):
    __slots__ = ("id", "response", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    response: SegmentResponse
    error: _models_pb2.ItemError
    def __init__(self, id: _Optional[int] = ..., response: _Optional[_Union[SegmentResponse, _Mapping]] = ..., error: _Optional[_Union[_models_pb2.ItemError, _Mapping]] = ...) -> None: ...
