"""Requests that tests of the server send."""

from sightline.v1 import classification_pb2 as pb
from sightline.v1 import image_pb2, models_pb2


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
