"""Which models there are, where each is loaded, and what frontends are told about it."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from service.artifact.manifest import ArtifactError, read_manifest
from service.ipc.control import Loaded, ModelUpdate
from service.supervisor.servable import check_servable

logger = logging.getLogger(__name__)

LABELS_FILE = "labels.json"
_LABELS = TypeAdapter(dict[str, Annotated[int, Field(ge=1, lt=1 << 32, strict=True)]])
_MAX_LOAD_CRASHES = 2  # a model counts as failed when this many workers died as they loaded it


@dataclass(slots=True)
class ModelVersion:
    """One version of a model, over all workers."""

    model_id: int
    name: str
    number: int
    path: Path
    artifact_sha256: str = ""
    task: str = ""
    version_labels: list[str] = field(default_factory=list[str])
    ready_on: dict[str, str] = field(default_factory=dict[str, str])  # worker -> device
    failed_on: dict[str, str] = field(default_factory=dict[str, str])  # worker -> reason
    broken: str = ""  # why no worker may try it
    was_ready: bool = False
    load_crashes: int = 0
    load_s: float = 0  # of the last time; 0: it was never loaded
    size_bytes: int = 0
    best_batch_sizes: dict[str, int] = field(default_factory=dict[str, int])  # device -> calibrated

    @property
    def state(self) -> str:
        """``loading``, ``ready`` or ``failed``.

        It is ``ready`` as long as any worker has it, whatever happened on others; and while its
        only worker is being replaced, because requests wait for the new one.
        """
        if self.ready_on:
            return "ready"
        if self.broken or self.failed_on:
            return "failed"
        return "ready" if self.was_ready else "loading"

    @property
    def reason(self) -> str:
        """Why it failed."""
        return self.broken or next(iter(self.failed_on.values()), "")

    def load_cost(self) -> tuple[int, float, int]:
        """A sort key: versions that are likely to load sooner come first."""
        return self.load_crashes, self.load_s, self.size_bytes

    def update(self) -> ModelUpdate:
        """What a frontend is told."""
        return ModelUpdate(
            model_id=self.model_id,
            name=self.name,
            version=self.number,
            path=str(self.path),
            artifact_sha256=self.artifact_sha256,
            task=self.task,
            state=self.state,
            reason=self.reason if self.state == "failed" else "",
            version_labels=self.version_labels,
            workers=list(self.ready_on),
            devices=list(self.ready_on.values()),
        )

    def note_loaded(self, worker: str, device: str, loaded: Loaded) -> None:
        """A worker has it."""
        self.ready_on[worker] = device
        self.failed_on.pop(worker, None)
        self.was_ready = True
        self.load_crashes = 0
        self.load_s = loaded.load_s
        self.best_batch_sizes[device] = loaded.best_batch_size

    def note_lost(self, worker: str, was_loading: bool) -> None:
        """A worker died, perhaps because it was loading this version."""
        self.ready_on.pop(worker, None)
        self.failed_on.pop(worker, None)
        if was_loading:
            self.load_crashes += 1
            if self.load_crashes >= _MAX_LOAD_CRASHES:
                self.broken = (
                    f"{self.load_crashes} workers died while they loaded it (out of memory?);"
                    " try `sightline verify` on it"
                )


def scan_repository(path: Path) -> list[ModelVersion]:
    """Find every ``NAME/VERSION/`` below ``path``, readable or not, by name, then number.

    A version that only a label names is among them, and broken: a request by that label, or for
    the default, must not be answered by another version.

    Raises:
        ArtifactError: the folder is missing, or holds no artifact.
    """
    if not path.is_dir():
        raise ArtifactError(
            f"there is no folder {path}; name one with --models, or export a model into it"
        )
    models = [each for each in sorted(path.iterdir()) if not each.name.startswith(".")]
    found = [
        (model.name, int(folder.name), folder)
        for model in models
        for folder in version_folders(model)
    ]
    if not found:
        raise ArtifactError(
            f"{path} holds no NAME/VERSION artifact; make one with `sightline export`"
        )
    labels = {model.name: _Labels(model) for model in models}
    missing = {(name, number) for name, own in labels.items() for number in own.versions.values()}
    missing -= {(name, number) for name, number, _ in found}
    found = sorted(found + [(name, number, path / name / str(number)) for name, number in missing])
    versions: list[ModelVersion] = []
    for model_id, (name, number, folder) in enumerate(found):
        version = ModelVersion(model_id, name, number, folder.resolve())
        own = labels[name]
        version.version_labels = [label for label, of in own.versions.items() if of == number]
        try:
            if own.error:
                raise ArtifactError(own.error)
            if (name, number) in missing:
                called = ", ".join(version.version_labels)
                raise ArtifactError(f"{own.path} calls it {called}, and there is no {folder}")
            manifest, version.artifact_sha256 = read_manifest(folder)
            version.task = manifest.task.value
            version.size_bytes = _size(folder)
            check_servable(manifest)
        except ArtifactError as err:
            version.broken = str(err)
        versions.append(version)
    return versions


def version_folders(model_dir: Path) -> list[Path]:
    """The versions of a model, whole or not, by number."""
    found = [each for each in model_dir.glob("*") if each.is_dir() and each.name.isdecimal()]
    return sorted(found, key=lambda each: int(each.name))


def _size(folder: Path) -> int:
    """Of all files in it, in bytes."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


class _Labels:
    """The owner's labels of a model, such as ``{"stable": 2, "canary": 3}``; no file: none."""

    def __init__(self, model_dir: Path) -> None:
        self.path = model_dir / LABELS_FILE
        self.versions: dict[str, int] = {}
        self.error = ""
        if not self.path.exists():
            return
        try:
            self.versions = _LABELS.validate_json(self.path.read_bytes())
        except (OSError, ValueError) as err:
            logger.debug("%s: %s", self.path, err)
            self.error = f'{self.path} is not of the form {{"stable": 2, "canary": 3}}; mend it'
