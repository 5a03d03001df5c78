"""Requests that tests of the server send."""

from typing import Any

from sightline.v1 import classification_pb2 as pb
from sightline.v1 import image_pb2, models_pb2, sequence_pb2


def pixels(value: int = 7, side: int = 4, channels: int = 1) -> image_pb2.Image:
    """A square of one colour."""
    data = bytes([value]) * (side * side * channels)
    return image_pb2.Image(
        pixels=image_pb2.Pixels(data=data, height=side, width=side, channels=channels)
    )


def classify(*images: image_pb2.Image, model: str = "tiny", **fields: object) -> pb.ClassifyRequest:
    """A request for one small image, or those given."""
    selector = fields.pop("selector", models_pb2.ModelSelector(name=model))
    return pb.ClassifyRequest(model=selector, images=images or [pixels()], **fields)


def slowly(level: int = 250) -> pb.ClassifyRequest:
    """A request that keeps the device busy: seconds at 250, some milliseconds for each level."""
    return classify(pixels(level), model="slow")


def predict(
    *histories: sequence_pb2.History | str | list[float], model: str = "lstm", **options: object
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
