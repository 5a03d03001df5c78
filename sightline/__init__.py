"""Ask a Sightline server what an image shows, what is where in it, or what comes next.

>>> from sightline import Client
>>> with Client("localhost:8001") as client:
...     print(client.classify("cat.jpg", model="imagenet").best.name)

Names are imported at their first use: the server needs only ``sightline.v1`` of this package, and
does not load the client with it.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline._async.client import AsyncClient
    from sightline._async.streams import AsyncFollow, AsyncStepStream
    from sightline._sync.client import Client
    from sightline._sync.streams import Follow, StepStream
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
    from sightline.requests.histories import HistoryLike
    from sightline.requests.images import ImageLike
    from sightline.results.classification import Classification, Label
    from sightline.results.continuation import (
        Alternative,
        Continuation,
        FinishReason,
        Prediction,
        Step,
    )
    from sightline.results.detection import Detection, Detections, Keypoint
    from sightline.results.models import ModelIdentity, ModelStatus, State, Task
    from sightline.results.outcomes import ItemFailed, Outcome, Timing
    from sightline.results.segmentation import Region, Segmentation
    from sightline.retry import Retry

try:
    __version__ = version("sightline")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Alternative",
    "AsyncClient",
    "AsyncFollow",
    "AsyncStepStream",
    "Cancelled",
    "Classification",
    "Client",
    "Continuation",
    "DeadlineExceeded",
    "Detection",
    "Detections",
    "FinishReason",
    "Follow",
    "HistoryLike",
    "ImageLike",
    "InvalidInput",
    "ItemFailed",
    "Keypoint",
    "Label",
    "MessageTooLarge",
    "ModelIdentity",
    "ModelNotFound",
    "ModelStatus",
    "Outcome",
    "Overloaded",
    "PermissionDenied",
    "Prediction",
    "Region",
    "Retry",
    "Segmentation",
    "ServerError",
    "SightlineError",
    "State",
    "Step",
    "StepStream",
    "Task",
    "Timing",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "WrongTask",
    "__version__",
]

_HOMES = {
    "Alternative": "sightline.results.continuation",
    "AsyncClient": "sightline._async.client",
    "AsyncFollow": "sightline._async.streams",
    "AsyncStepStream": "sightline._async.streams",
    "Cancelled": "sightline.errors",
    "Classification": "sightline.results.classification",
    "Client": "sightline._sync.client",
    "Continuation": "sightline.results.continuation",
    "DeadlineExceeded": "sightline.errors",
    "Detection": "sightline.results.detection",
    "Detections": "sightline.results.detection",
    "FinishReason": "sightline.results.continuation",
    "Follow": "sightline._sync.streams",
    "HistoryLike": "sightline.requests.histories",
    "ImageLike": "sightline.requests.images",
    "InvalidInput": "sightline.errors",
    "ItemFailed": "sightline.results.outcomes",
    "Keypoint": "sightline.results.detection",
    "Label": "sightline.results.classification",
    "MessageTooLarge": "sightline.errors",
    "ModelIdentity": "sightline.results.models",
    "ModelNotFound": "sightline.errors",
    "ModelStatus": "sightline.results.models",
    "Outcome": "sightline.results.outcomes",
    "Overloaded": "sightline.errors",
    "PermissionDenied": "sightline.errors",
    "Prediction": "sightline.results.continuation",
    "Region": "sightline.results.segmentation",
    "Retry": "sightline.retry",
    "Segmentation": "sightline.results.segmentation",
    "ServerError": "sightline.errors",
    "SightlineError": "sightline.errors",
    "State": "sightline.results.models",
    "Step": "sightline.results.continuation",
    "StepStream": "sightline._sync.streams",
    "Task": "sightline.results.models",
    "Timing": "sightline.results.outcomes",
    "Tls": "sightline.connection",
    "Unauthenticated": "sightline.errors",
    "Unavailable": "sightline.errors",
    "WrongTask": "sightline.errors",
}

if not TYPE_CHECKING:  # a type checker must see that a misspelt name does not exist

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'sightline' has no attribute {name!r}")
        return getattr(import_module(home), name)
