"""The adoption of sequence graphs with recurrent states.

A time step is a frame of sound, a token, or the values of one or several series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.adoption.artifact import Adopted, AdoptedInputs, BucketRows, write_artifact
from export.adoption.graph_description import Axes, GraphDescription, GraphTensor
from export.adoption.graph_editor import GraphEditor
from export.adoption.heads.head import Head, read_owner_labels
from export.adoption.image_input import Finding
from export.adoption.input_nodes import freeze_inputs
from export.adoption.options import AdoptionOptions
from export.adoption.sequence_examples import read_elements
from export.adoption.states import find_states, put_batch_first
from export.adoption.step_through import SequenceStepper
from export.artifact.destination import Destination
from export.artifact.tolerances import ADOPTED_SEQUENCE_TOLERANCE
from export.errors import AdoptionError, GoldenError
from service.artifact.manifest import Bucket, TensorSpec
from service.artifact.sections import SequenceSection, SequenceState

DEFAULT_BATCH_SIZE = 16
CHUNK = 16
"""Time steps in a chunk of a prefill."""


@dataclass(frozen=True)
class _SequenceInput:
    """The input for the time steps."""

    spec: TensorSpec
    vocabulary: tuple[str, ...]
    elements: NDArray[Any]
    """The example's time steps, see `read_elements`."""
    has_free_batch: bool


class SequenceAdoption:
    """The adoption of one sequence graph."""

    def __init__(
        self, model: onnx.ModelProto, graph: GraphDescription, options: AdoptionOptions
    ) -> None:
        if options.head is not None:
            raise AdoptionError(
                f"there is no sequence head {options.head!r}; give --head ctc for a CTC network,"
                " else leave --head out"
            )
        self._graph, self._options = graph, options
        self._editor = GraphEditor(model)
        self._states = find_states(graph, options)
        known = {state.input.name for state in self._states} | set(options.frozen)
        self._main = _only(graph.inputs_without(known), "takes")
        given_back = {state.output.name for state in self._states}
        self._answer = _only(
            [each for each in graph.outputs if each.name not in given_back], "answers"
        )
        self._observed = _sequence_input(self._main, graph, options)
        if len(self._observed.elements) <= CHUNK:
            raise GoldenError(
                f"the example has {len(self._observed.elements)} time steps; give an example with"
                f" more than {CHUNK}"
            )

    def write(self, destination: Destination) -> Adopted:
        """Write the artifact."""
        freeze_inputs(self._editor, self._graph, self._options.frozen)
        inputs, states_after = put_batch_first(self._editor, self._states)
        outputs = (self._answer_spec(), *states_after)
        self._editor.answer_with(outputs)
        observed = self._observed
        stepper = SequenceStepper(
            self._editor.model, destination.partial, (observed.spec, *inputs), outputs
        )
        parts = [
            BucketRows(bucket, *stepper.rows(observed.elements, bucket.get("time", 1)))
            for bucket in self._buckets()
        ]
        if "time" in observed.spec.axes:
            stepper.check_steps(observed.elements[:CHUNK])
        section = self._section(inputs, states_after)
        head = Head(
            section.kind,
            outputs,
            (),
            ADOPTED_SEQUENCE_TOLERANCE,
            section,
            self._findings(outputs[0]),
        )
        asked = self._options.max_batch_size or DEFAULT_BATCH_SIZE
        largest = asked if observed.has_free_batch else 1
        description = AdoptedInputs((observed.spec, *inputs), None, largest, False, ())
        return write_artifact(
            destination, self._editor.model, self._options, self._graph, description, head, parts
        )

    def _buckets(self) -> Sequence[Bucket]:
        return [{"time": 1}, {"time": CHUNK}] if "time" in self._observed.spec.axes else [{}]

    def _answer_spec(self) -> TensorSpec:
        """Scores ``[batch, n]`` for frames; else logits or predictions ``[batch, time, n]``."""
        observed, name = self._observed, self._answer.name
        axes = self._answer.axes or ()
        last = axes[-1] if axes else ""
        width = len(observed.vocabulary) or (
            last if isinstance(last, int) else observed.spec.axes[-1]
        )
        sides: tuple[str | int, ...] = (observed.spec.axes[1], width)
        if self._options.frame:
            width = last if isinstance(last, int) and len(axes) == 2 else 1
            shape = self._editor.constant(np.array([-1, width], np.int64))
            name = self._editor.node("Reshape", [name, shape], self._editor.fresh("scores"))
            sides = (width,)
        elif len(axes) not in (0, 3):
            raise AdoptionError(
                f"the output {self._answer} is not [batch, time, ...]; export the graph so that it"
                " answers every time step"
            )
        return TensorSpec(name=name, dtype="float32", axes=("batch", *sides))

    def _section(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> SequenceSection:
        observed, frame = self._observed, self._options.frame
        series = 0 if observed.vocabulary else 1 if frame else int(observed.spec.axes[2])
        return SequenceSection(
            kind="tokens" if observed.vocabulary else "values",
            vocabulary=observed.vocabulary,
            series=series,
            states=tuple(
                SequenceState(input=before.name, output=after.name)
                for before, after in zip(inputs, outputs, strict=True)
            ),
            chunk=CHUNK,
            frame=frame,
            overlap=self._options.overlap,
        )

    def _findings(self, answer: TensorSpec) -> tuple[Finding, ...]:
        return (
            Finding("observed", str(self._main), "the only input that is no state and not frozen"),
            *(Finding("state", str(state), state.why) for state in self._states),
            Finding("answer", f"{answer.name} {list(answer.axes)}", "the only other output"),
        )


def _only(rest: Sequence[GraphTensor], verb: str) -> GraphTensor:
    if len(rest) != 1:
        raise AdoptionError(
            f"beside its states the graph {verb} {', '.join(map(str, rest)) or 'nothing'}, not one"
            " tensor; name states with --state INPUT=OUTPUT, and inputs that never change with"
            " --freeze"
        )
    return rest[0]


def _sequence_input(
    main: GraphTensor, graph: GraphDescription, options: AdoptionOptions
) -> _SequenceInput:
    """Find out how the graph takes time steps."""
    axes: Axes = tuple(main.axes or ())
    is_tokens = main.dtype in ("int32", "int64")
    if main.dtype not in ("int32", "int64", "float32"):
        raise AdoptionError(f"the input {main} takes neither tokens nor float32 values")
    if len(axes) != (2 if is_tokens or options.frame else 3):
        raise AdoptionError(
            f"the input {main} is not [batch, time, series]; a graph that takes samples [batch, n]"
            " needs --frame, and --overlap if it takes samples of the previous step, too"
        )
    vocabulary: tuple[str, ...] = ()
    if is_tokens:
        vocabulary, _ = read_owner_labels(options.labels, graph.metadata)
    elements = read_elements(options.examples[0], vocabulary, options.frame, options.overlap)
    rest: tuple[str | int, ...] = elements.shape[1:]
    if not options.frame:
        if isinstance(axes[1], int) and axes[1] != 1:
            raise AdoptionError(
                f"{main} takes exactly {axes[1]} time steps; export it with a free axis"
            )
        rest = (axes[1] if isinstance(axes[1], int) else "time", *rest)
    for wanted, actual in zip(axes[1:], rest, strict=True):
        if isinstance(wanted, int) and wanted != actual:
            raise AdoptionError(f"the input {main} does not take the example's {list(rest)}")
    dtype: Any = main.dtype
    spec = TensorSpec(name=main.name, dtype=dtype, axes=("batch", *rest))
    return _SequenceInput(spec, vocabulary, elements, not isinstance(axes[0], int))
