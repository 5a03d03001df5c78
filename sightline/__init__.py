"""Ask a Sightline server what a photo shows.

>>> from sightline import Client
>>> with Client("localhost:8001") as client:
...     print(client.classify("cat.jpg", model="imagenet").best.name)

Names are imported when they are first used: the server needs only ``sightline.v1`` of this package,
and does not load the client with it.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.answers import (
        Classification,
        ItemFailed,
        Label,
        ModelIdentity,
        ModelStatus,
        Outcome,
        State,
        Task,
        Timing,
    )
    from sightline.async_client import AsyncClient
    from sightline.client import Client
    from sightline.connection import Tls
    from sightline.errors import (
        Cancelled,
        DeadlineExceeded,
        InvalidInput,
        MessageTooLarge,
        ModelNotFound,
        Overloaded,
        PermissionDenied,
        ServerError,
        SightlineError,
        Unauthenticated,
        Unavailable,
        WrongTask,
    )
    from sightline.images import Photo
    from sightline.retry import Retry

try:
    __version__ = version("sightline")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

_HOMES = {
    "AsyncClient": "sightline.async_client",
    "Cancelled": "sightline.errors",
    "Classification": "sightline.answers",
    "Client": "sightline.client",
    "DeadlineExceeded": "sightline.errors",
    "InvalidInput": "sightline.errors",
    "ItemFailed": "sightline.answers",
    "Label": "sightline.answers",
    "MessageTooLarge": "sightline.errors",
    "ModelIdentity": "sightline.answers",
    "ModelNotFound": "sightline.errors",
    "ModelStatus": "sightline.answers",
    "Outcome": "sightline.answers",
    "Overloaded": "sightline.errors",
    "PermissionDenied": "sightline.errors",
    "Photo": "sightline.images",
    "Retry": "sightline.retry",
    "ServerError": "sightline.errors",
    "SightlineError": "sightline.errors",
    "State": "sightline.answers",
    "Task": "sightline.answers",
    "Timing": "sightline.answers",
    "Tls": "sightline.connection",
    "Unauthenticated": "sightline.errors",
    "Unavailable": "sightline.errors",
    "WrongTask": "sightline.errors",
}

__all__ = [
    "AsyncClient",
    "Cancelled",
    "Classification",
    "Client",
    "DeadlineExceeded",
    "InvalidInput",
    "ItemFailed",
    "Label",
    "MessageTooLarge",
    "ModelIdentity",
    "ModelNotFound",
    "ModelStatus",
    "Outcome",
    "Overloaded",
    "PermissionDenied",
    "Photo",
    "Retry",
    "ServerError",
    "SightlineError",
    "State",
    "Task",
    "Timing",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "WrongTask",
    "__version__",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    return getattr(import_module(home), name)
