"""The formats of other people's detectors, recognised by the shapes of their outputs.

Each function reads a graph's answers as one format, or says that they do not fit it. Where several
formats fit, the first plausible one is proposed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from export.adoption.graph_runner import Answer

Size = tuple[int, int]
"""Height and width of the graph's input, px."""


@dataclass(frozen=True)
class HeadOutput:
    """One output that a head reads."""

    answer: Answer
    rank: int
    """The number of axes of one image's row."""

    @property
    def is_batched(self) -> bool:
        """Whether the output has a batch axis."""
        return len(self.answer.shape) == self.rank + 1

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of the first image's row."""
        return self.answer.shape[-self.rank :] if self.rank else ()


@dataclass(frozen=True)
class DetectorFormat:
    """How a head reads a graph's answers."""

    outputs: tuple[HeadOutput, ...]
    """In the order of the head."""
    classes: int | None
    """The number of classes; None: the shapes do not say."""
    is_plausible: bool = True
    """Whether the values are plausible, too."""


FormatReader = Callable[[Sequence[Answer], int, Size], DetectorFormat | None]
"""Takes the answers, the number of labels and the size of the input."""


def outputs_of_rank(
    answers: Sequence[Answer], rank: int, last: int | None = None
) -> list[HeadOutput]:
    """The outputs whose row has ``rank`` axes, the last one of size ``last`` if given."""
    fitting = [
        HeadOutput(answer, rank)
        for answer in answers
        if len(answer.shape) == rank or (len(answer.shape) == rank + 1 and answer.shape[0] == 1)
    ]
    # If one output has a batch axis, all have one: [1, 4] is then no row of [K, 4].
    fitting = [output for output in fitting if output.is_batched] or fitting
    return [output for output in fitting if last is None or output.row[-1:] == (last,)]


def is_whole(answer: Answer) -> bool:
    """Whether the output has an integer dtype."""
    return bool(np.issubdtype(answer.rows[0].dtype, np.integer))


def largest(answer: Answer) -> float:
    """The largest absolute value of all answers; 0 if there is none."""
    return max((float(np.abs(row).max()) for row in answer.rows if row.size), default=0.0)


def yolo(extra: int) -> FormatReader:
    """One output ``[K, extra + C]``, or its transpose; ``extra`` is 4 or 5."""

    def fit(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
        del size
        found = outputs_of_rank(answers, 2)
        if not found or (len(found) > 1 and len(answers) != len(found)):
            return None
        output = max(found, key=lambda each: each.answer.rows[0].size)
        wanted = extra + labels
        numbers = wanted if wanted in output.row else min(output.row)
        return DetectorFormat((output,), numbers - extra) if numbers > extra else None

    return fit


def yolox(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
    """As YOLOv5, with one candidate per cell of three grids and boxes relative to the cell."""
    read_as = yolo(5)(answers, labels, size)
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
    if read_as is None or cells not in read_as.outputs[0].row:
        return None
    row = read_as.outputs[0].answer.rows[0]
    columns = row.reshape(read_as.outputs[0].row)
    columns = columns if columns.shape[0] == cells else columns.T
    return DetectorFormat(read_as.outputs, read_as.classes, bool(np.abs(columns[:, :2]).max() < 16))


def segment(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
    """``[4 + C + M, K]`` and prototypes ``[M, h, w]``."""
    del labels, size
    prototypes, rows = outputs_of_rank(answers, 3), outputs_of_rank(answers, 2)
    prototypes = [each for each in prototypes if len(each.answer.shape) == 4]
    if len(prototypes) != 1 or not rows:
        return None
    numbers = min(rows[0].row)
    classes = numbers - 4 - prototypes[0].row[0]
    return DetectorFormat((rows[0], prototypes[0]), classes) if classes > 0 else None


def columns(count: int, others: int) -> FormatReader:
    """One output ``[K, count]``, and ``others`` more outputs that are not read."""

    def fit(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
        del labels, size
        found = outputs_of_rank(answers, 2, count)
        if len(found) != 1 or len(answers) != 1 + others:
            return None
        return DetectorFormat((found[0],), None)

    return fit


def efficient_nms(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
    """``num [1]``, ``boxes [K, 4]``, ``scores [K]``, ``classes [K]``."""
    del labels, size
    boxes = outputs_of_rank(answers, 2, 4)
    rows = outputs_of_rank(_without(answers, boxes), 1)
    nums = [output for output in rows if output.row == (1,) and is_whole(output.answer)]
    rest = [output for output in rows if output.row != (1,)]
    if (len(boxes), len(nums), len(rest), len(answers)) != (1, 1, 2, 4):
        return None
    rest.sort(key=lambda output: is_whole(output.answer))
    return DetectorFormat((nums[0], boxes[0], *rest), None, is_whole(rest[1].answer))


def labelled_boxes(*, are_shares: bool) -> FormatReader:
    """``boxes [K, 4]``, ``labels [K]``, ``scores [K]``; boxes in px, or as shares of the sides."""

    def fit(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
        del labels, size
        boxes = outputs_of_rank(answers, 2, 4)[:1]
        rows = outputs_of_rank(_without(answers, boxes), 1)
        numbers = [output for output in rows if is_whole(output.answer)]
        scores = [output for output in rows if not is_whole(output.answer)]
        if not boxes or len(numbers) != 1 or len(scores) != 1:
            return None
        are_small = largest(boxes[0].answer) <= 1.5
        return DetectorFormat((boxes[0], numbers[0], scores[0]), None, are_small == are_shares)

    return fit


def tensorflow(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
    """Recognised by TensorFlow's own names."""
    del labels, size
    found: list[HeadOutput] = []
    for name, rank in (("boxes", 2), ("classes", 1), ("scores", 1)):
        fitting = [each for each in answers if each.name.split(":")[0] == f"detection_{name}"]
        found += [HeadOutput(each, rank) for each in fitting]
    return DetectorFormat(tuple(found), None) if len(found) == 3 else None


def two_tables(extra: int, *, are_scores: bool, are_shares: bool) -> FormatReader:
    """``boxes [K, 4]`` and ``[K, C + extra]``, both of one length.

    Args:
        extra: 1 where the background is a class of its own.
        are_scores: whether the second table seems to hold 0..1, or else logits.
        are_shares: whether boxes seem to be shares of the sides, or else px.
    """

    def fit(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
        del size
        tables = outputs_of_rank(answers, 2)
        boxes = [each for each in tables if each.row[-1] == 4]
        if len(boxes) > 1:  # four numbers a row may be classes: then the names must help
            boxes = [each for each in boxes if "box" in each.answer.name] or boxes[:1]
        rest = [each for each in tables if boxes and each.answer is not boxes[0].answer]
        rest = [each for each in rest if each.row[0] == boxes[0].row[0]]
        rest.sort(key=lambda each: each.row[1] != labels + extra)
        if not rest:
            return None
        values = np.concatenate([row.ravel() for row in rest[0].answer.rows])
        seem_scores = bool(((values >= 0) & (values <= 1)).all())
        is_plausible = seem_scores == are_scores
        is_plausible &= (largest(boxes[0].answer) <= 1.5) == are_shares
        return DetectorFormat((boxes[0], rest[0]), rest[0].row[1] - extra, is_plausible)

    return fit


def swapped(fit: FormatReader) -> FormatReader:
    """The same format, with the logits before the boxes."""

    def fit_swapped(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
        read_as = fit(answers, labels, size)
        return read_as and DetectorFormat(
            read_as.outputs[::-1], read_as.classes, read_as.is_plausible
        )

    return fit_swapped


def levels(answers: Sequence[Answer], labels: int, size: Size) -> DetectorFormat | None:
    """``[C, h, w]``, ``[4, h, w]`` and ``[1, h, w]`` for each of several grids."""
    del size
    by_grid: dict[tuple[int, ...], list[HeadOutput]] = {}
    for output in outputs_of_rank(answers, 3):
        by_grid.setdefault(output.row[1:], []).append(output)
    found: list[HeadOutput] = []
    for grid in sorted(by_grid, reverse=True):
        level = by_grid[grid]
        centre = [each for each in level if each.row[0] == 1]
        distances = [each for each in level if each.row[0] == 4]
        if labels == 4:
            distances = [each for each in distances if each.answer.rows[0].min() >= 0][:1]
        rest = [each for each in level if each not in (*centre[:1], *distances[:1])]
        if (len(centre) < 1, len(distances) < 1, len(rest)) != (False, False, 1):
            return None
        found += [rest[0], distances[0], centre[0]]
    return DetectorFormat(tuple(found), found[0].row[0]) if found else None


def _without(answers: Sequence[Answer], taken: Sequence[HeadOutput]) -> list[Answer]:
    return [each for each in answers if all(each is not output.answer for output in taken)]
