"""The adoption of graphs that read sequences and carry a state from step to step.

Three forms: ``frames`` of sound, ``tokens``, and ``values`` of one or several series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.adoption.artifact import Adopted, Description, Rows, write_artifact
from export.adoption.graph_description import Axes, GraphDescription, GraphTensor
from export.adoption.graph_editor import GraphEditor
from export.adoption.heads.head import Head, read_owner_labels
from export.adoption.image_input import Finding
from export.adoption.input_nodes import freeze_inputs
from export.adoption.options import Wishes
from export.adoption.sequence_examples import read_elements
from export.adoption.states import find_states, put_batch_first
from export.adoption.step_through import Walk
from export.artifact.destination import Destination
from export.errors import AdoptionError, GoldenError
from service.artifact.manifest import Bucket, TensorSpec, Tolerance
from service.artifact.sections import SequenceSection, SequenceState

TOLERANCE = Tolerance(atol=1e-3, rtol=1e-3)
DEFAULT_BATCH_SIZE = 16
CHUNK = 16
"""Time steps of a history in one run."""


@dataclass(frozen=True)
class _Form:
    """What the graph observes."""

    spec: TensorSpec
    vocabulary: tuple[str, ...]
    elements: NDArray[Any]
    """Of the example, see `read_elements`."""
    has_free_batch: bool


class SequenceAdoption:
    """One graph."""

    def __init__(self, model: onnx.ModelProto, graph: GraphDescription, wishes: Wishes) -> None:
        if wishes.head is not None:
            raise AdoptionError(
                f"there is no sequence head {wishes.head!r}; give --head ctc for a graph that"
                " transcribes, else leave --head out"
            )
        self._graph, self._wishes = graph, wishes
        self._editor = GraphEditor(model)
        self._states = find_states(graph, wishes)
        known = {state.input.name for state in self._states} | set(wishes.frozen)
        self._main = _only(
            [each for each in graph.inputs if each.name not in known],
            "takes",
        )
        given_back = {state.output.name for state in self._states}
        self._answer = _only(
            [each for each in graph.outputs if each.name not in given_back], "answers"
        )
        self._form = _form_of(self._main, graph, wishes)
        if len(self._form.elements) <= CHUNK:
            raise GoldenError(
                f"the example has {len(self._form.elements)} time steps; give one of more than"
                f" {CHUNK}"
            )

    def write(self, destination: Destination) -> Adopted:
        """Everything, into its place."""
        freeze_inputs(self._editor, self._graph, self._wishes.frozen)
        inputs, carried = put_batch_first(self._editor, self._states)
        outputs = (self._put_answer_first(), *carried)
        self._editor.append()
        del self._editor.graph.output[:]
        for spec in outputs:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
            self._editor.declare_output(spec.name, kind, spec.axes)
        form = self._form
        walk = Walk(self._editor.model, destination.partial, (form.spec, *inputs), outputs)
        parts = [
            Rows(bucket, *walk.rows(form.elements, bucket.get("time", 1)))
            for bucket in self._buckets()
        ]
        if "time" in form.spec.axes:
            walk.check_steps(form.elements[:CHUNK])
        section = self._section(inputs, carried)
        head = Head(section.kind, outputs, (), TOLERANCE, section, self._findings(outputs[0]))
        wish = self._wishes.max_batch_size or DEFAULT_BATCH_SIZE
        largest = wish if form.has_free_batch else 1
        description = Description((form.spec, *inputs), None, largest, False, ())
        return write_artifact(
            destination, self._editor.model, self._wishes, self._graph, description, head, parts
        )

    def _buckets(self) -> Sequence[Bucket]:
        return [{"time": 1}, {"time": CHUNK}] if "time" in self._form.spec.axes else [{}]

    def _put_answer_first(self) -> TensorSpec:
        """Scores ``[batch, n]`` of frames; logits or predictions ``[batch, time, n]``."""
        form, name = self._form, self._answer.name
        axes = self._answer.axes or ()
        last = axes[-1] if axes else ""
        width = len(form.vocabulary) or (last if isinstance(last, int) else form.spec.axes[-1])
        sides: tuple[str | int, ...] = (form.spec.axes[1], width)
        if self._wishes.frame:
            width = last if isinstance(last, int) and len(axes) == 2 else 1
            shape = self._editor.constant(np.array([-1, width], np.int64))
            name = self._editor.node("Reshape", [name, shape], self._editor.fresh("scores"))
            sides = (width,)
        elif len(axes) not in (0, 3):
            raise AdoptionError(
                f"the answer {self._answer} is not [batch, time, ...]; export the graph so that it"
                " answers for every time step"
            )
        return TensorSpec(name=name, dtype="float32", axes=("batch", *sides))

    def _section(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> SequenceSection:
        form, frame = self._form, self._wishes.frame
        series = 0 if form.vocabulary else 1 if frame else int(form.spec.axes[2])
        return SequenceSection(
            kind="tokens" if form.vocabulary else "values",
            vocabulary=form.vocabulary,
            series=series,
            states=tuple(
                SequenceState(input=before.name, output=after.name)
                for before, after in zip(inputs, outputs, strict=True)
            ),
            chunk=CHUNK,
            frame=frame,
            overlap=self._wishes.overlap,
        )

    def _findings(self, answer: TensorSpec) -> tuple[Finding, ...]:
        return (
            Finding("observed", str(self._main), "the only input that is not carried or frozen"),
            *(Finding("state", str(state), state.why) for state in self._states),
            Finding("answer", f"{answer.name} {list(answer.axes)}", "the only other output"),
        )


def _only(rest: Sequence[GraphTensor], verb: str) -> GraphTensor:
    if len(rest) != 1:
        raise AdoptionError(
            f"beside its state the graph {verb} {', '.join(map(str, rest)) or 'nothing'}, where one"
            " tensor was expected; name states with --state INPUT=OUTPUT, and inputs that never"
            " change with --freeze"
        )
    return rest[0]


def _form_of(main: GraphTensor, graph: GraphDescription, wishes: Wishes) -> _Form:
    """Find out what the graph observes."""
    axes: Axes = tuple(main.axes or ())
    is_tokens = main.dtype in ("int32", "int64")
    if main.dtype not in ("int32", "int64", "float32"):
        raise AdoptionError(f"the input {main} holds neither tokens nor float32 numbers")
    if len(axes) != (2 if is_tokens or wishes.frame else 3):
        raise AdoptionError(
            f"the input {main} is not [batch, time, series]; a graph that takes samples [batch, n]"
            " needs --frame, and --overlap if it wants some of the step before"
        )
    vocabulary: tuple[str, ...] = ()
    if is_tokens:
        vocabulary, _ = read_owner_labels(wishes.labels, graph.metadata)
    elements = read_elements(wishes.examples[0], vocabulary, wishes.frame, wishes.overlap)
    rest: tuple[str | int, ...] = elements.shape[1:]
    if not wishes.frame:
        if isinstance(axes[1], int) and axes[1] != 1:
            raise AdoptionError(f"{main} takes exactly {axes[1]} time steps; export it with any")
        rest = (axes[1] if isinstance(axes[1], int) else "time", *rest)
    for wanted, actual in zip(axes[1:], rest, strict=True):
        if isinstance(wanted, int) and wanted != actual:
            raise AdoptionError(f"the input {main} does not take {list(rest)} of the example")
    dtype: Any = main.dtype
    spec = TensorSpec(name=main.name, dtype=dtype, axes=("batch", *rest))
    return _Form(spec, vocabulary, elements, not isinstance(axes[0], int))
