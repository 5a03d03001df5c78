"""Heads of classifiers: the graph's answer becomes ``scores [batch, num_classes]``."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from export.adoption.graph_editor import GraphEditor
from export.adoption.graph_runner import Answer
from export.adoption.heads.head import (
    ANY_GRAPH,
    Head,
    check_graph_labels,
    check_head_name,
    in_words,
)
from export.adoption.image_input import Finding
from export.artifact.tolerances import DEFAULT_TOLERANCE, HALF_TOLERANCE
from export.errors import AdoptionError
from service.artifact.manifest import TensorSpec

HEADS = ("logits", "scores", "sigmoid")
"""``logits``: softmax is added. ``scores``: 0..1 already. ``sigmoid``: logits of labels that do not
exclude each other. A single number is for the second of two labels."""


def finish(
    editor: GraphEditor, answers: Sequence[Answer], labels: tuple[str, ...], head_name: str | None
) -> Head:
    """Append the nodes that make scores of the graph's answer.

    Args:
        editor: of the graph; its outputs are replaced.
        answers: the graph's outputs for a few images, one at a time.
        labels: of the classes.
        head_name: one of `HEADS`; None: find out which one fits.

    Raises:
        AdoptionError: no output is one row of numbers.
        LabelsError: the numbers of labels and classes differ.
    """
    check_head_name(head_name, HEADS, "classification")
    chosen = _choose(answers, len(labels))
    classes = chosen.rows[0].size
    is_binary = classes == 1 and len(labels) == 2
    check_graph_labels(2 if is_binary else classes, labels, str(chosen))
    name, why = (head_name, "--head") if head_name else _propose(chosen)
    shape = editor.constant(np.array([-1, classes], np.int64))
    scores = editor.cast(editor.node("Reshape", [chosen.name, shape]), TensorProto.FLOAT)
    if name == "logits" and not is_binary:
        scores = editor.node("Softmax", [scores], axis=1)
    elif name != "scores":
        scores = editor.node("Sigmoid", [scores])
    if is_binary:
        one = editor.constant(np.array(1, np.float32))
        scores = editor.node("Concat", [editor.node("Sub", [one, scores]), scores], axis=1)
    output = editor.node("Identity", [scores], editor.fresh("scores"))
    spec = TensorSpec(name=output, dtype="float32", axes=("batch", len(labels)))
    editor.answer_with([spec])
    is_half = chosen.rows[0].dtype == np.float16
    return Head(
        name,
        (spec,),
        labels,
        HALF_TOLERANCE if is_half else DEFAULT_TOLERANCE,
        findings=(Finding("head", f"{name}: {chosen}", why),),
    )


def _choose(answers: Sequence[Answer], classes: int) -> Answer:
    """The output that seems to hold one number for each class."""
    rows = [
        answer
        for answer in answers
        if np.issubdtype(answer.rows[0].dtype, np.floating)
        and len(answer.shapes) == 1
        and max(answer.shape, default=1) == answer.rows[0].size
    ]
    if not rows:
        raise AdoptionError(
            f"no output is one row of scores: {in_words(answers)}; give another --task. {ANY_GRAPH}"
        )
    return next((answer for answer in rows if answer.rows[0].size == classes), rows[0])


def _propose(answer: Answer) -> tuple[str, str]:
    values = np.stack([row.reshape(-1) for row in answer.rows]).astype(np.float64)
    is_share = bool(((values >= -1e-6) & (values <= 1 + 1e-6)).all())
    if is_share and np.allclose(values.sum(axis=1), 1, atol=1e-2):
        return "scores", "they are 0 to 1 and sum to 1"
    if is_share:
        return "scores", "a guess: they are 0 to 1 and do not sum to 1; else give --head sigmoid"
    return "logits", "a guess: they are not 0 to 1; else give --head sigmoid"
