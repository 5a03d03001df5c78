"""What the heads of all tasks share: their result, and the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from export.adoption.graph_description import literal
from export.adoption.graph_runner import Answer
from export.adoption.image_input import Finding
from export.artifact.labels import check_label_count, read_labels
from export.errors import AdoptionError, LabelsError
from service.artifact.manifest import TensorSpec, Tolerance

ANY_GRAPH = "A graph that fits no head is served with --task tensors"


@dataclass(frozen=True)
class Head:
    """The outputs of the adopted graph, and their meaning."""

    name: str
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    tolerance: Tolerance
    section: BaseModel | None = None
    """The manifest's section of the task."""
    findings: tuple[Finding, ...] = ()
    max_batch_size: int | None = None
    """The limit where the graph takes a limited number of images; None: any number."""


def read_owner_labels(
    path: Path | None, metadata: Mapping[str, str], keys: Sequence[str] = ()
) -> tuple[tuple[str, ...], str]:
    """The labels and their source: the owner's file, the graph's metadata, or its maps.

    Raises:
        LabelsError: there are no labels, or the file cannot be read.
    """
    names = _names(metadata)
    if path is not None:
        labels = read_labels(path)
        if names and len(names) != len(labels):
            raise LabelsError(
                f"there are {len(labels)} labels and the file's metadata name {len(names)} classes:"
                f" {', '.join(names[:5])} ...; give one label per class, or leave --labels out"
            )
        return labels, "--labels"
    if names:
        return names, "the file's metadata: names"
    if keys:
        return tuple(keys), "the keys of the graph's maps"
    raise LabelsError(
        "the graph does not name its classes; give --labels FILE, one label per line, in the order"
        " of its outputs"
    )


def _names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The classes in Ultralytics' metadata; empty if there are none."""
    match literal(dict(metadata), "names"):
        case dict() as names:
            return tuple(str(names[key]) for key in sorted(names))
        case [*names]:
            return tuple(map(str, names))
        case _:
            return ()


def check_graph_labels(classes: int, labels: Sequence[str], output: str) -> None:
    """Refuse a number of labels that is not the number of classes of ``output``."""
    check_label_count(classes, labels, f"the graph ({output})", "the order of its outputs")


def check_head_name(head_name: str | None, known: Sequence[str], task: str) -> None:
    """Refuse the name of an unknown head."""
    if head_name is not None and head_name not in known:
        raise AdoptionError(f"{task} head {head_name!r} is unknown; use one of {', '.join(known)}")


def in_words(answers: Sequence[Answer]) -> str:
    """All outputs, for a message."""
    return "; ".join(map(str, answers))
