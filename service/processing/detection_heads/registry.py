"""Every detection head, by the name in the manifest."""

from collections.abc import Mapping
from types import MappingProxyType

from service.processing.detection_heads import detr, fcos, suppressed, yolo
from service.processing.detection_heads.candidates import Head

HEADS: Mapping[str, Head] = MappingProxyType(
    {
        "candidates": suppressed.candidates,
        "yolov5": yolo.yolov5,
        "yolov8": yolo.yolov8,
        "yolov8-segment": yolo.yolov8_segment,
        "yolov8-pose": yolo.yolov8_pose,
        "yolox": yolo.yolox,
        "end-to-end": suppressed.end_to_end,
        "yolov7-end-to-end": suppressed.yolov7_end_to_end,
        "efficient-nms": suppressed.efficient_nms,
        "paddle": suppressed.paddle,
        "torchvision": suppressed.torchvision,
        "ssd": suppressed.ssd,
        "ssd-chosen": suppressed.ssd_chosen,
        "tensorflow": suppressed.tensorflow,
        "detr": detr.detr,
        "rt-detr": detr.rt_detr,
        "fcos": fcos.fcos,
        "fcos-strides": fcos.fcos_strides,
    }
)
