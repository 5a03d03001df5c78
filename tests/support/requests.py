"""Requests that tests of the server send."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sightline.v1 import classification_pb2 as pb
from sightline.v1 import detection_pb2, image_pb2, models_pb2, segmentation_pb2, sequence_pb2

ORIENTATION = 0x0112
"""EXIF's number for it."""


def pixels(value: int = 7, side: int = 4, channels: int = 1) -> image_pb2.Image:
    """A square of one colour."""
    data = bytes([value]) * (side * side * channels)
    return image_pb2.Image(
        pixels=image_pb2.Pixels(data=data, height=side, width=side, channels=channels)
    )


def picture(array: NDArray[np.uint8]) -> image_pb2.Image:
    """Pixels ``[H, W, channels]`` as they are."""
    height, width, channels = array.shape
    return image_pb2.Image(
        pixels=image_pb2.Pixels(data=array.tobytes(), height=height, width=width, channels=channels)
    )


def photo_file(
    array: NDArray[np.uint8], orientation: int = 1, form: str = "PNG"
) -> image_pb2.Image:
    """A file of pixels ``[H, W, 3]`` as stored; to be turned as the EXIF orientation says."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, exif=exif)
    return image_pb2.Image(encoded=file.getvalue())


@contextmanager
def fails_with(
    code: grpc.StatusCode, says: str = ""
) -> Iterator[pytest.ExceptionInfo[grpc.RpcError]]:
    """A call in this block must fail with this status, and its message hold this text."""
    with pytest.raises(grpc.RpcError) as caught:
        yield caught
    details = caught.value.details() or ""
    assert (caught.value.code(), says in details) == (code, True), details


def segment(
    *images: image_pb2.Image, model: str = "levels", **fields: Any
) -> segmentation_pb2.SegmentRequest:
    """A request for one small image, or those given."""
    return segmentation_pb2.SegmentRequest(
        model=models_pb2.ModelSelector(name=model),
        images=images or [pixels(channels=3)],
        **fields,
    )


def detect(
    *images: image_pb2.Image, model: str = "bright", **fields: Any
) -> detection_pb2.DetectRequest:
    """A request for one small image, or those given."""
    return detection_pb2.DetectRequest(
        model=models_pb2.ModelSelector(name=model),
        images=images or [pixels(channels=3)],
        **fields,
    )


def classify(*images: image_pb2.Image, model: str = "tiny", **fields: Any) -> pb.ClassifyRequest:
    """A request for one small image, or those given."""
    selector = fields.pop("selector", models_pb2.ModelSelector(name=model))
    return pb.ClassifyRequest(model=selector, images=images or [pixels()], **fields)


def slowly(level: int = 250) -> pb.ClassifyRequest:
    """A request that keeps the device busy: seconds at 250, some milliseconds for each level."""
    return classify(pixels(level), model="slow")


def predict(
    *histories: sequence_pb2.History | str | list[float], model: str = "lstm", **options: Any
) -> sequence_pb2.PredictRequest:
    """A request to continue texts or values; options as in the proto, those of sampling, too."""
    return sequence_pb2.PredictRequest(
        model=models_pb2.ModelSelector(name=model),
        histories=[history(each) for each in histories],
        options=predict_options(**options),
    )


def predict_options(**options: Any) -> sequence_pb2.PredictOptions:
    names = sequence_pb2.Sampling.DESCRIPTOR.fields_by_name
    sampling = {name: options.pop(name) for name in [*options] if name in names}
    if sampling:
        options["sampling"] = sequence_pb2.Sampling(**sampling)
    return sequence_pb2.PredictOptions(**options)


def history(content: sequence_pb2.History | str | list[float]) -> sequence_pb2.History:
    """Of a text, or of values of two series, step by step."""
    if isinstance(content, sequence_pb2.History):
        return content
    if isinstance(content, str):
        return sequence_pb2.History(text=content)
    return sequence_pb2.History(values=sequence_pb2.Values(values=content, series=2))
