"""Ask a Sightline server what a photo shows.

>>> from sightline import Client
>>> with Client("localhost:8001") as client:
...     print(client.classify("cat.jpg", model="imagenet").best.name)
"""

from importlib.metadata import PackageNotFoundError, version

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
