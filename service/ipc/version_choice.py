"""Which version of a model answers a request that names none; the same in every process."""

from collections.abc import Mapping
from typing import Protocol

DEFAULT_LABEL = "stable"


class VersionState(Protocol):
    """What the choice depends on."""

    @property
    def state(self) -> str:
        """``loading``, ``ready`` or ``failed``."""
        ...

    @property
    def version_labels(self) -> list[str]:
        """The owner's labels of this version."""
        ...


def chosen_version(versions: Mapping[int, VersionState]) -> int:
    """The number of the version labelled ``stable``, else of the highest one that is ready."""
    for number, version in versions.items():
        if DEFAULT_LABEL in version.version_labels:
            return number
    ready = [number for number, version in versions.items() if version.state == "ready"]
    return max(ready or versions)
