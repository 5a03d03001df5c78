"""Labels: one for each class, in the order of the network's outputs."""

from collections.abc import Sequence
from pathlib import Path

from export.errors import LabelsError


def read_labels(path: Path) -> tuple[str, ...]:
    """The lines of a text file, in the order of the classes.

    Raises:
        LabelsError: the file cannot be read, is empty, or has an empty line between others.
    """
    labels = tuple(line.strip() for line in read_label_file(path).rstrip().splitlines())
    if not labels:
        raise LabelsError(f"the labels file {path} is empty; write one label per line")
    if "" in labels:
        raise LabelsError(
            f"line {labels.index('') + 1} of {path} is empty; each line is the label of a class"
        )
    return labels


def read_label_file(path: Path) -> str:
    """The text of a labels file.

    Raises:
        LabelsError: the file cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise LabelsError(
            f"the labels {path} cannot be read ({err}); give a UTF-8 text file"
        ) from err


def check_label_count(
    classes: int, labels: Sequence[str], network: str, order: str = "the order of training"
) -> None:
    """Refuse a number of labels that is not the number of classes.

    Args:
        classes: how many classes the network has.
        labels: the given labels.
        network: what the message calls the network.
        order: the order of the labels, for the message.

    Raises:
        LabelsError: the numbers differ.
    """
    if classes != len(labels):
        raise LabelsError(
            f"{network} has {classes} classes and there are {len(labels)} labels; give one label"
            f" per class, in {order}"
        )
