"""Ask a Sightline server what a photo shows, what is where in it, or what comes next.

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
    from sightline.async_client import (
        AsyncClient,
    )
    from sightline.async_sequence_streams import (
        AsyncFollow,
        AsyncStepStream,
    )
    from sightline.client import (
        Client,
    )
    from sightline.connection import (
        Tls,
    )
    from sightline.continuations import (
        Alternative,
        Continuation,
        FinishReason,
        Prediction,
        Step,
    )
    from sightline.detections import (
        Detection,
        Detections,
        Keypoint,
    )
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
    from sightline.histories import (
        HistoryLike,
    )
    from sightline.images import (
        Photo,
    )
    from sightline.retry import (
        Retry,
    )
    from sightline.segmentations import (
        Region,
        Segmentation,
    )
    from sightline.sequence_streams import (
        Follow,
        StepStream,
    )

try:
    __version__ = version("sightline")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

_HOMES = {
    "Alternative": "sightline.continuations",
    "AsyncClient": "sightline.async_client",
    "AsyncFollow": "sightline.async_sequence_streams",
    "AsyncStepStream": "sightline.async_sequence_streams",
    "Cancelled": "sightline.errors",
    "Classification": "sightline.answers",
    "Client": "sightline.client",
    "Continuation": "sightline.continuations",
    "DeadlineExceeded": "sightline.errors",
    "Detection": "sightline.detections",
    "Detections": "sightline.detections",
    "FinishReason": "sightline.continuations",
    "Follow": "sightline.sequence_streams",
    "HistoryLike": "sightline.histories",
    "InvalidInput": "sightline.errors",
    "ItemFailed": "sightline.answers",
    "Keypoint": "sightline.detections",
    "Label": "sightline.answers",
    "MessageTooLarge": "sightline.errors",
    "ModelIdentity": "sightline.answers",
    "ModelNotFound": "sightline.errors",
    "ModelStatus": "sightline.answers",
    "Outcome": "sightline.answers",
    "Overloaded": "sightline.errors",
    "PermissionDenied": "sightline.errors",
    "Photo": "sightline.images",
    "Prediction": "sightline.continuations",
    "Region": "sightline.segmentations",
    "Retry": "sightline.retry",
    "Segmentation": "sightline.segmentations",
    "ServerError": "sightline.errors",
    "SightlineError": "sightline.errors",
    "State": "sightline.answers",
    "Step": "sightline.continuations",
    "StepStream": "sightline.sequence_streams",
    "Task": "sightline.answers",
    "Timing": "sightline.answers",
    "Tls": "sightline.connection",
    "Unauthenticated": "sightline.errors",
    "Unavailable": "sightline.errors",
    "WrongTask": "sightline.errors",
}

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
    "Photo",
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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    return getattr(import_module(home), name)
