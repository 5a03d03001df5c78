"""Finds the served model of a name and a version or label.

Each frontend has its own copy, which the supervisor updates.
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from service.artifact.manifest import (
    ArtifactError,
    ImagePreprocessing,
    Manifest,
    Task,
    read_manifest,
)
from service.frontend.errors import InvalidInput, ModelNotFound, ModelUnavailable, WrongTask
from service.frontend.response_encoding import label_prefixes, token_prefixes
from service.ipc.control import ModelUpdate
from service.ipc.sequence_slot import ElementLayout
from service.ipc.slot_layout import SlotLayout
from service.ipc.version_choice import chosen_version
from sightline.v1 import models_pb2

_SERVICE_NAMES = {
    "classification": "ClassificationService",
    "segmentation": "SegmentationService",
    "detection": "DetectionService",
    "sequence": "SequenceService",
    "tensors": "GRPCInferenceService",
}
"""The service for the models of a task."""
_MAX_NAMES_IN_ERROR = 8
_MAX_NAME_IN_ERROR = 128  # characters
_MAX_COMPARED = 256  # known names, with an unknown name


@dataclass(frozen=True)
class ServedModel:
    """One version of a model."""

    update: ModelUpdate
    manifest: Manifest
    identity: models_pb2.ModelIdentity = field(compare=False)
    label_prefixes: tuple[bytes, ...] = field(default=(), compare=False, repr=False)
    """Of a classifier: each label, encoded."""
    token_prefixes: tuple[bytes, ...] = field(default=(), compare=False, repr=False)
    """Of a sequence model of tokens: each token's step, encoded."""
    layouts: dict[tuple[int, int], SlotLayout] = field(
        default_factory=dict[tuple[int, int], SlotLayout], compare=False, repr=False
    )
    """By rows and variant, made on first use: at most one for each number of items and variant."""

    @property
    def model_id(self) -> int:
        """The model's number in tickets."""
        return self.update.model_id

    def layout(self, rows: int, variant: int = 0) -> SlotLayout:
        """Where the tensors of ``rows`` items of one variant lie."""
        layout = self.layouts.get((rows, variant))
        if layout is None:
            layout = self.layouts[rows, variant] = SlotLayout.of(self.manifest, rows, variant)
        return layout

    @cached_property
    def preprocessings(self) -> tuple[ImagePreprocessing, ...]:
        """How images become rows, for each of the manifest's shapes."""
        manifest = self.manifest
        assert manifest.preprocessing is not None  # checked when the version was loaded
        return tuple(
            manifest.preprocessing.model_copy(update=dict(shape)) for shape in manifest.shapes
        )

    @cached_property
    def element_layout(self) -> ElementLayout:
        """Of a sequence model: how its elements and steps are laid out in a slot."""
        section, scores = self.manifest.sequence, self.manifest.outputs[0].axes[-1]
        assert section is not None  # checked when the version was loaded
        assert isinstance(scores, int)
        return ElementLayout.of(section, scores)

    @cached_property
    def device(self) -> str:
        """The devices that have the model, such as ``cpu`` or ``cuda:0,cuda:1``."""
        return ",".join(sorted(set(self.update.devices)))


class ModelRepository:
    """All models and versions that the supervisor has announced."""

    def __init__(self, required: Collection[str] = ()) -> None:
        """Nothing is known yet.

        Args:
            required: models that must be ready for the server to be ready; empty: all of them.
        """
        self._required = required
        self._lock = threading.Lock()
        self._versions: dict[str, dict[int, ServedModel | ModelUpdate]] = {}
        self._defaults: dict[str, ServedModel | ModelUpdate] = {}

    def apply(self, update: ModelUpdate) -> None:
        """Add a new version, or set the new state of a known version."""
        served: ServedModel | ModelUpdate = update
        if update.state != "failed" or update.task:
            with self._lock:
                known = self._versions.get(update.name, {}).get(update.version)
            try:
                served = _serve(update, known if isinstance(known, ServedModel) else None)
            except ArtifactError:
                # The supervisor has read the artifact, so it has changed since. The worker that
                # loads it will report the error.
                served = update
        with self._lock:
            versions = {**self._versions.get(update.name, {}), update.version: served}
            self._versions = {**self._versions, update.name: versions}
            states = {number: _update(each) for number, each in versions.items()}
            self._defaults = {**self._defaults, update.name: versions[chosen_version(states)]}

    def find(self, selector: models_pb2.ModelSelector, *tasks: Task) -> ServedModel:
        """The ready model that a request selects; it must be for one of these tasks.

        Raises:
            ServiceError: the model does not exist, is for another task, or is not ready.
        """
        found = self.resolve(selector)
        update = found.update if isinstance(found, ServedModel) else found
        if update.task and update.task not in tasks:
            raise WrongTask(
                f"{update.name!r} is a {update.task} model; use {_SERVICE_NAMES[update.task]}"
            )
        if update.state == "failed":
            raise ModelUnavailable(
                f"{update.name}/{update.version} cannot be served: {update.reason}"
            )
        # A model that is ready but has no worker will get a new worker: the request waits for it.
        if update.state == "loading" or not isinstance(found, ServedModel):
            raise ModelUnavailable(
                f"{update.name}/{update.version} is still loading; retry in a moment"
            )
        return found

    def resolve(self, selector: models_pb2.ModelSelector) -> ServedModel | ModelUpdate:
        """The model that a selector names, ready or not.

        Raises:
            ModelNotFound: no model has that name, version or label.
            InvalidInput: the selector has no name.
        """
        if not selector.name:
            raise InvalidInput("the request names no model; set model.name")
        versions = self._versions.get(selector.name)
        if not versions:
            name = selector.name[:_MAX_NAME_IN_ERROR]
            raise ModelNotFound(
                f"there is no model {name!r}; {_alternatives(name, self._versions)}"
            )
        choice = selector.WhichOneof("choice")
        if choice is None:
            return self._defaults[selector.name]
        if choice == "version":
            if selector.version not in versions:
                raise ModelNotFound(
                    f"{selector.name!r} has no version {selector.version}, only {sorted(versions)}"
                )
            return versions[selector.version]
        labelled = _labelled(versions, selector.label)
        if labelled is None:
            label = selector.label[:_MAX_NAME_IN_ERROR]
            known = {each for one in versions.values() for each in _update(one).version_labels}
            raise ModelNotFound(
                f"no version of {selector.name!r} is labelled {label!r};"
                f" {_alternatives(label, known)}"
            )
        return labelled

    def all(self) -> list[ServedModel | ModelUpdate]:
        """Every version, sorted by name, then number."""
        versions = self._versions
        return [
            versions[name][number] for name in sorted(versions) for number in sorted(versions[name])
        ]

    def tasks(self) -> dict[str, bool]:
        """Tasks that have a model, and whether their service is ready.

        It is if a worker has one of their models, and each model of theirs that is required can be
        asked without a version.
        """
        states: dict[str, bool] = {}
        for served in self.all():
            update = _update(served)
            if update.task:
                states[update.task] = states.get(update.task, False) or bool(update.workers)
        for name in self._unready():
            default = self._defaults.get(name)
            if default is not None and (task := _update(default).task):
                states[task] = False
        return states

    def is_ready(self) -> bool:
        """Whether a worker has a model, and each required model can be asked without a version."""
        return not self._unready() and any(_update(each).workers for each in self.all())

    def _unready(self) -> list[str]:
        """Required models that a request without a version cannot ask."""
        defaults = self._defaults
        return [
            name
            for name in self._required or defaults
            if name not in defaults or _update(defaults[name]).state != "ready"
        ]


def _alternatives(name: str, known: Collection[str]) -> str:
    """A hint for an unknown name: the nearest known name, or some of the known names."""
    if nearest := get_close_matches(name, list(known)[:_MAX_COMPARED], n=1):
        return f"did you mean {nearest[0]!r}?"
    shown = ", ".join(sorted(known)[:_MAX_NAMES_IN_ERROR])
    return f"there are {shown}{' ...' if len(known) > _MAX_NAMES_IN_ERROR else ''}"


def _labelled(
    versions: dict[int, ServedModel | ModelUpdate], label: str
) -> ServedModel | ModelUpdate | None:
    return next((each for each in versions.values() if label in _update(each).version_labels), None)


def _update(served: ServedModel | ModelUpdate) -> ModelUpdate:
    return served.update if isinstance(served, ServedModel) else served


def _serve(update: ModelUpdate, known: ServedModel | None) -> ServedModel:
    if known and known.update.artifact_sha256 == update.artifact_sha256:
        return replace(known, update=update)
    manifest, sha256 = read_manifest(Path(update.path))
    if sha256 != update.artifact_sha256:
        raise ArtifactError(f"{update.path} was replaced while it was being loaded")
    identity = models_pb2.ModelIdentity(
        name=update.name, version=update.version, artifact_sha256=sha256
    )
    section = manifest.sequence
    return ServedModel(
        update,
        manifest,
        identity,
        label_prefixes=label_prefixes(
            manifest.labels if manifest.task is Task.CLASSIFICATION else ()
        ),
        token_prefixes=token_prefixes(section.vocabulary if section else ()),
    )
