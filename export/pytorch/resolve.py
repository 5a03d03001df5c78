"""From the options of ``sightline export`` to a network with weights, preprocessing and labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from export.artifact.labels import read_labels
from export.artifact.preprocess import validated_preprocessing
from export.artifact.spec import ArtifactSpec, Origin
from export.errors import FactoryError, LabelsError, PreprocessingError, WeightsError
from export.models import BUILDERS, build, suggestion
from export.pytorch.checkpoint import Checkpoint, load_weights, read_checkpoint
from export.pytorch.description import described_network, read_description, shipped_models
from export.pytorch.exporter import export_module
from export.pytorch.heads import classification, detection, segmentation, sequence
from export.pytorch.network import (
    IMAGENET_PREPROCESSING,
    PUBLIC_PREPROCESSING,
    ArtifactOptions,
    Network,
    call_factory,
)
from service.artifact.manifest import ImagePreprocessing, Task


@dataclass(frozen=True)
class NetworkSource:
    """The network to export, as the user describes it."""

    name: str
    """A shipped model, a network of the registry, or, with a factory, any name."""
    weights: Path | None = None
    labels: Path | None = None
    factory: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """The constructor's parameters: ``width``, ``in_channels``, ``small_images`` ..."""
    preprocessing: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Fields of `ImagePreprocessing` that the user sets."""


PREPARE: Mapping[Task, Callable[[Network, ArtifactOptions], tuple[nn.Module, ArtifactSpec]]] = (
    MappingProxyType(
        {
            Task.CLASSIFICATION: classification.prepare,
            Task.SEGMENTATION: segmentation.prepare,
            Task.DETECTION: detection.prepare,
            Task.SEQUENCE: sequence.prepare,
        }
    )
)
"""The function that gives a network its deployment head, by task."""

TASKS: Mapping[str, Task] = MappingProxyType(
    {"fasterrcnn_resnet50_fpn": Task.DETECTION}
    | dict.fromkeys(
        ("fcn32s", "fcn16s", "fcn8s", "fcn_resnet50", "fcn_resnet101"), Task.SEGMENTATION
    )
)
"""Tasks of the registry's networks that are not classifiers, for weights without a description."""


def export_source(source: NetworkSource, options: ArtifactOptions, output: Path) -> Path:
    """Find, build and export a network; returns the artifact's directory.

    Raises:
        ExportError: the export was refused; nothing was left behind.
    """
    return export_network(resolve(source), options, output)


def export_network(network: Network, options: ArtifactOptions, output: Path) -> Path:
    """Give a network its deployment head and export it; returns the artifact's directory.

    Raises:
        ExportError: the export was refused; nothing was left behind.
    """
    return export_module(*PREPARE[network.task](network, options), output)


def resolve(source: NetworkSource) -> Network:
    """Make the network; for image tasks its ``preprocessing`` and ``labels`` are set.

    Raises:
        ExportError: something is missing or does not fit.
    """
    network = _network(source)
    labels = read_labels(source.labels) if source.labels else network.labels
    if network.task is Task.SEQUENCE:
        return network
    if not labels:
        raise LabelsError(f"the labels of {source.name} are unknown; give them with --labels FILE")
    preprocessing = merge_preprocessing(network.preprocessing, source.preprocessing)
    return replace(network, labels=labels, preprocessing=preprocessing)


def _network(source: NetworkSource) -> Network:
    if source.factory:
        return _from_factory(source, source.factory)
    weights = source.weights or shipped_models().get(source.name)
    if weights is None:
        if source.name in BUILDERS:
            raise WeightsError(f"{source.name} needs weights; give them with --weights FILE")
        known = [*shipped_models(), *BUILDERS]
        raise FactoryError(
            f"there is no model or network {source.name!r}{suggestion(source.name, known)}"
        )
    checkpoint = read_checkpoint(weights)
    description = read_description(checkpoint)
    if description is None:
        return _from_registry(source, checkpoint)
    if source.name in BUILDERS and source.name != description.architecture:
        raise WeightsError(f"{weights} is a {description.architecture}, not a {source.name}")
    return described_network(checkpoint, description)


def _from_factory(source: NetworkSource, factory: str) -> Network:
    network = call_factory(factory)
    origin = network.origin if network.origin.source else replace(network.origin, source=factory)
    if source.weights:
        checkpoint = read_checkpoint(source.weights)
        load_weights(network.module, checkpoint)
        origin = replace(origin, weights_sha256=checkpoint.sha256)
    architecture = network.architecture or type(network.module).__name__
    return replace(network, origin=origin, architecture=architecture)


def _from_registry(source: NetworkSource, checkpoint: Checkpoint) -> Network:
    """A network whose weights have no description, such as a public checkpoint."""
    if source.labels is None:
        raise LabelsError(
            f"{checkpoint.path} does not name its classes; give --labels FILE, one label per line"
        )
    labels = read_labels(source.labels)
    module = build(source.name, num_classes=len(labels), **source.options)
    load_weights(module, checkpoint)
    channels = source.options.get("in_channels", 3)
    preprocessing = PUBLIC_PREPROCESSING.get(source.name, IMAGENET_PREPROCESSING)
    if channels != 3:  # the means are those of colour channels
        preprocessing = preprocessing.model_copy(
            update={"channels": channels, "mean": (), "std": ()}
        )
    return Network(
        module=module,
        preprocessing=preprocessing,
        labels=labels,
        task=TASKS.get(source.name, Task.CLASSIFICATION),
        architecture=source.name,
        origin=Origin(source=source.name, weights_sha256=checkpoint.sha256),
    )


def merge_preprocessing(
    known: ImagePreprocessing | None, given: Mapping[str, object]
) -> ImagePreprocessing:
    """The network's own preprocessing, changed by the user's fields.

    Raises:
        PreprocessingError: the input size is unknown, or mean and std do not fit the channels.
    """
    if known is None and not {"height", "width"} <= given.keys():
        raise PreprocessingError(
            "the network's preprocessing is unknown; give --input-size (and --mean and --std, in"
            " units of 0..255), or let the factory return an export.pytorch.network.Network"
        )
    return validated_preprocessing({**(known.model_dump() if known else {}), **given})
