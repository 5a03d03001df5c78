"""The input and the classes of a CTC network, as the graph and its owner describe them."""

from collections.abc import Sequence
from pathlib import Path

from export.adoption.graph_description import GraphDescription, GraphTensor
from export.adoption.options import AdoptionOptions
from export.artifact.labels import read_label_file
from export.errors import AdoptionError, GoldenError, LabelsError

_BLANKS = ("", "<blank>", "[blank]", "<pad>", "[PAD]", "<ctc>", "_")
"""Labels of the class that is no token."""


def input_of(graph: GraphDescription, options: AdoptionOptions) -> GraphTensor:
    """The input that takes values.

    Raises:
        AdoptionError: there is no such input, or another one beside it.
    """
    rest = graph.inputs_without(options.frozen)
    if len(rest) != 1:
        raise AdoptionError(
            f"the graph takes {', '.join(map(str, rest)) or 'nothing'}, not the values alone;"
            " --freeze inputs that never change, or export it without the others"
        )
    (values,) = rest
    batch, *sides = values.axes or ("",)
    if values.dtype != "float32" or len(sides) not in (1, 2):
        raise AdoptionError(
            f"the input {values} is not float32 [batch, time] or [batch, time, series]"
        )
    if isinstance(batch, int) and batch != 1:
        raise AdoptionError(f"the first axis of {values} must be the batch, free or 1")
    if not all(isinstance(size, int) for size in sides[1:]):
        raise AdoptionError(f"the input {values} does not say how many series it takes")
    return values


def read_texts(path: Path | None) -> tuple[str, ...]:
    """The text of each class, one per line, unchanged; it may be a space, or empty.

    Raises:
        LabelsError: no file was given, or it cannot be read.
    """
    if path is None:
        raise LabelsError(
            "give --labels FILE: the text of each class, one per line, with the blank's"
        )
    return tuple(read_label_file(path).splitlines())


def find_blank(texts: Sequence[str], asked: int | None) -> tuple[int, str]:
    """The class that is no token, and why.

    Raises:
        AdoptionError: the owner names a class that does not exist.
    """
    if asked is not None:
        if asked >= len(texts):
            raise AdoptionError(f"--blank {asked}: the classes are 0 to {len(texts) - 1}")
        return asked, "--blank"
    named = [place for place, text in enumerate(texts) if text in _BLANKS]
    if len(named) == 1:
        return named[0], "its label"
    return 0, "a guess: the first; else give --blank"


def choose_lengths(asked: Sequence[int], fixed: int, example: int) -> tuple[tuple[int, ...], str]:
    """The lengths, in time steps, at which the graph is run, rising, and why.

    Args:
        asked: the owner's lengths; empty: propose some.
        fixed: the only length that the graph takes; 0: any.
        example: the length of the example.

    Raises:
        AdoptionError: the graph does not take these lengths.
        GoldenError: the example is longer than the longest length.
    """
    lengths, why = tuple(sorted(set(asked))), "--lengths"
    if any(length < 1 for length in lengths):
        raise AdoptionError("--lengths are numbers of time steps, 1 or more")
    if fixed:
        if lengths not in ((), (fixed,)):
            raise AdoptionError(f"the graph takes exactly {fixed} time steps; leave --lengths out")
        lengths, why = (fixed,), "the graph takes no other length"
    elif not lengths:
        above = 1 << example.bit_length()
        lengths, why = (
            (above // 2, above, 2 * above),
            "a guess, by the example; else give --lengths",
        )
    if example > lengths[-1]:
        raise GoldenError(
            f"the example has {example} time steps and the longest of --lengths is"
            f" {lengths[-1]}; give a shorter example, or longer --lengths"
        )
    return lengths, why
