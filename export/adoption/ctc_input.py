"""What a CTC network takes, and what its classes mean: as far as graph and owner say so."""

from collections.abc import Sequence
from pathlib import Path

from export.adoption.graph_description import GraphDescription, GraphTensor
from export.adoption.options import Wishes
from export.errors import AdoptionError, GoldenError, LabelsError

_BLANKS = ("", "<blank>", "[blank]", "<pad>", "[PAD]", "<ctc>", "_")
"""What classes are called that mean no token."""


def input_of(graph: GraphDescription, wishes: Wishes) -> GraphTensor:
    """The input that takes values.

    Raises:
        AdoptionError: there is none, or another beside it.
    """
    rest = [each for each in graph.inputs if each.name not in wishes.frozen]
    if len(rest) != 1:
        raise AdoptionError(
            f"the graph takes {', '.join(map(str, rest)) or 'nothing'}, where the values alone were"
            " expected; --freeze inputs that never change, or export it without the others"
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
    """The text of each class, one a line, as it stands: it may be a space, or empty.

    Raises:
        LabelsError: there are none, or the file cannot be read.
    """
    if path is None:
        raise LabelsError(
            "give --labels FILE: the text of each class, one a line, the blank's among them"
        )
    try:
        return tuple(path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as err:
        raise LabelsError(f"the labels {path} cannot be read ({err})") from err


def find_blank(texts: Sequence[str], wish: int | None) -> tuple[int, str]:
    """The class that means no token, and why.

    Raises:
        AdoptionError: the owner names one that there is not.
    """
    if wish is not None:
        if wish >= len(texts):
            raise AdoptionError(f"--blank {wish}: the classes are 0 to {len(texts) - 1}")
        return wish, "--blank"
    named = [place for place, text in enumerate(texts) if text in _BLANKS]
    if len(named) == 1:
        return named[0], "its label"
    return 0, "a guess: the first; else --blank"


def choose_lengths(wish: Sequence[int], fixed: int, example: int) -> tuple[tuple[int, ...], str]:
    """How many time steps the graph is given, rising, and why.

    Args:
        wish: the owner's; empty: propose some.
        fixed: the only ones that it takes; 0: any.
        example: that the example has.

    Raises:
        AdoptionError: the graph does not take them.
        GoldenError: the example is longer than all of them.
    """
    lengths, why = tuple(sorted(set(wish))), "--lengths"
    if any(length < 1 for length in lengths):
        raise AdoptionError("--lengths are numbers of time steps, 1 and up")
    if fixed:
        if lengths not in ((), (fixed,)):
            raise AdoptionError(f"the graph takes exactly {fixed} time steps; leave --lengths out")
        lengths, why = (fixed,), "the graph takes no other"
    elif not lengths:
        above = 1 << example.bit_length()
        lengths, why = (above // 2, above, 2 * above), "a guess, by the example; else --lengths"
    if example > lengths[-1]:
        raise GoldenError(
            f"the example has {example} time steps and the graph is given {lengths[-1]} at most;"
            " give a shorter one, or longer --lengths"
        )
    return lengths, why
