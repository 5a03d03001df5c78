"""Every detector's head, by the name that a manifest gives."""

from collections.abc import Mapping
from types import MappingProxyType

from service.heads import chosen_boxes, fcos, transformers, yolo
from service.heads.candidates import Head

HEADS: Mapping[str, Head] = MappingProxyType(
    {
        "candidates": chosen_boxes.candidates,
        "yolov5": yolo.yolov5,
        "yolov8": yolo.yolov8,
        "yolov8-segment": yolo.yolov8_segment,
        "yolov8-pose": yolo.yolov8_pose,
        "yolox": yolo.yolox,
        "end-to-end": chosen_boxes.end_to_end,
        "yolov7-end-to-end": chosen_boxes.yolov7_end_to_end,
        "efficient-nms": chosen_boxes.efficient_nms,
        "paddle": chosen_boxes.paddle,
        "torchvision": chosen_boxes.torchvision,
        "ssd": chosen_boxes.ssd,
        "ssd-chosen": chosen_boxes.ssd_chosen,
        "tensorflow": chosen_boxes.tensorflow,
        "detr": transformers.detr,
        "rt-detr": transformers.rt_detr,
        "fcos": fcos.fcos,
        "fcos-strides": fcos.fcos_strides,
    }
)
