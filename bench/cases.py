"""What is measured: the cells of the table, and the requests that fill them."""

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from bench.networks import NETWORKS
from bench.photos import photo_12mp, photo_500x375
from bench.results import Cell, Photo
from bench.tasks import ENDPOINTS, Endpoint
from sightline.v1 import image_pb2, models_pb2

# Model, photo, items a call, messages a stream (1: a plain call), in flight. The largest load comes
# last in each row, because the efficiency is computed there.
_PLAN: tuple[tuple[str, Photo, int, int, tuple[int, ...]], ...] = (
    ("tinycnn", Photo.RAW, 1, 1, (1, 8, 32)),
    ("tinycnn", Photo.RAW, 16, 1, (8, 32)),
    ("tinycnn", Photo.RAW, 1, 256, (4,)),
    ("tinycnn", Photo.RAW, 16, 64, (4,)),
    ("lstm", Photo.RAW, 1, 1, (1, 8, 32)),
    ("lstm", Photo.RAW, 16, 1, (32,)),
    ("lstm", Photo.RAW, 16, 64, (4,)),
    ("thin224", Photo.RAW, 1, 1, (1, 8, 32)),
    ("thin224", Photo.RAW, 16, 1, (8,)),
    ("thin224", Photo.RAW, 1, 64, (4,)),
    ("thin224", Photo.JPEG, 1, 1, (1, 8, 32)),
    ("thin224", Photo.JPEG, 16, 1, (8,)),
    ("thin224", Photo.JPEG, 1, 64, (4,)),
    ("thin224", Photo.JPEG_12MP, 1, 1, (1, 8)),
    ("resnet50", Photo.RAW, 1, 1, (1, 8, 32)),
    ("fcn8s", Photo.JPEG, 1, 1, (1, 8)),
    ("yolo", Photo.JPEG, 1, 1, (1, 8, 32)),
    ("yolo", Photo.JPEG, 16, 1, (8,)),
)


def planned_cells(models: tuple[str, ...], *, quick: bool) -> list[Cell]:
    """The cells of these models; with ``quick`` only the busiest cell of each kind of request."""
    return [
        Cell(model=model, photo=photo, items=items, messages=messages, in_flight=in_flight)
        for model, photo, items, messages, loads in _PLAN
        if model in models
        for in_flight in (loads[-1:] if quick else loads)
    ]


def is_busiest(cell: Cell) -> bool:
    """Whether the cell has the most in flight of its kind; the floor is measured there, too."""
    return any(
        (model, photo, items, messages, loads[-1])
        == (cell.model, cell.photo, cell.items, cell.messages, cell.in_flight)
        for model, photo, items, messages, loads in _PLAN
    )


def endpoint_of(cell: Cell) -> Endpoint:
    """The endpoint that answers the cell."""
    return ENDPOINTS[NETWORKS[cell.model].task]


@cache
def request_of(cell: Cell) -> Any:
    """One call of the cell, or one message of its streams."""
    return endpoint_of(cell).request(
        model=models_pb2.ModelSelector(name=cell.model),
        images=[_image(cell, item) for item in range(cell.items)],
    )


def _image(cell: Cell, item: int) -> image_pb2.Image:
    if cell.photo is Photo.JPEG:
        return image_pb2.Image(encoded=photo_500x375())
    if cell.photo is Photo.JPEG_12MP:
        return image_pb2.Image(encoded=photo_12mp())
    network = NETWORKS[cell.model]
    rows, columns, channels = network.height, network.width, network.channels
    pixels = np.random.default_rng(item).integers(256, size=rows * columns * channels)
    return image_pb2.Image(
        pixels=image_pb2.Pixels(
            data=pixels.astype(np.uint8).tobytes(), height=rows, width=columns, channels=channels
        )
    )


def stream_of(cell: Cell) -> Iterator[Any]:
    """All messages of one stream of the cell."""
    make, request = endpoint_of(cell).stream_request, request_of(cell)
    return (make(id=id_, request=request) for id_ in range(cell.messages))


def frame(message: bytes) -> bytes:
    """A message as gRPC puts it on the wire: not compressed, its length, itself."""
    return struct.pack(">BI", 0, len(message)) + message


def body_of(cell: Cell) -> bytes:
    """The HTTP/2 body of one request of the cell."""
    if cell.is_stream:
        return b"".join(frame(message.SerializeToString()) for message in stream_of(cell))
    return frame(request_of(cell).SerializeToString())
