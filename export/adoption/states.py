"""Recurrent states of sequence graphs, with the batch axis moved to the front."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import helper

from export.adoption.graph_description import GraphDescription, GraphTensor
from export.adoption.graph_editor import GraphEditor
from export.adoption.options import AdoptionOptions
from export.errors import AdoptionError
from service.artifact.manifest import TensorSpec


@dataclass(frozen=True)
class RecurrentState:
    """A recurrent state: an output that is fed back as an input."""

    input: GraphTensor
    output: GraphTensor
    batch_axis: int
    why: str

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of the state of one sequence."""
        axes = self.input.axes or ()
        rest = [axis for place, axis in enumerate(axes) if place != self.batch_axis]
        if not all(isinstance(axis, int) and axis > 0 for axis in rest):
            raise AdoptionError(
                f"the state {self.input} has a free axis beside the batch; fix its size"
            )
        return tuple(int(axis) for axis in rest)

    def __str__(self) -> str:
        """Such as ``state float32[2, ?, 128] -> stateN, batch axis 1``."""
        return f"{self.input} -> {self.output.name}, batch axis {self.batch_axis}"


def find_states(graph: GraphDescription, options: AdoptionOptions) -> tuple[RecurrentState, ...]:
    """Pair inputs with the outputs that are their next values.

    Raises:
        AdoptionError: ``--state`` names an unknown tensor, or nothing can be paired.
    """
    inputs = {each.name: each for each in graph.inputs}
    outputs = {each.name: each for each in graph.outputs}
    pairs, why = dict(options.states), "--state"
    if not pairs:
        pairs, why = _by_name(graph, options), "its name; else give --state INPUT=OUTPUT"
    for name, output in pairs.items():
        if name not in inputs or output not in outputs:
            raise AdoptionError(
                f"--state {name}={output}: the graph takes {', '.join(inputs)} and answers"
                f" {', '.join(outputs)}"
            )
    if not pairs:
        raise AdoptionError(
            "the graph has no recurrent state, and a sequence is continued from its state; name"
            " it with --state INPUT=OUTPUT"
        )
    return tuple(
        RecurrentState(inputs[name], outputs[output], _batch_axis(inputs[name]), why)
        for name, output in pairs.items()
    )


def put_batch_first(
    editor: GraphEditor, states: Sequence[RecurrentState]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Let the graph take and return its states as ``[batch, ...]``.

    Returns:
        The new inputs, and the new outputs, which are not declared yet.
    """
    inputs: list[TensorSpec] = []
    turned: list[TensorSpec] = []
    for state in states:
        axis, rank = state.batch_axis, len(state.row_shape) + 1
        name = editor.fresh(f"rows_{state.input.name}")
        rest = [place for place in range(rank) if place != axis]
        there = [1 + rest.index(place) if place != axis else 0 for place in range(rank)]
        editor.node("Transpose", [name], output=state.input.name, perm=there)
        inputs.append(
            TensorSpec(name=name, dtype=state.input.dtype, axes=("batch", *state.row_shape))  # pyright: ignore[reportArgumentType]
        )
        editor.remove_input(state.input.name)
        value = helper.make_tensor_value_info(name, state.input.elem_type, inputs[-1].axes)
        editor.graph.input.append(value)
    editor.put_in_front()
    for state, spec in zip(states, inputs, strict=True):
        order = [state.batch_axis]
        order += [place for place in range(len(spec.axes)) if place != state.batch_axis]
        name = editor.node(
            "Transpose", [state.output.name], editor.fresh(f"rows_{state.output.name}"), perm=order
        )
        turned.append(spec.model_copy(update={"name": name}))
    return tuple(inputs), tuple(turned)


def _by_name(graph: GraphDescription, options: AdoptionOptions) -> dict[str, str]:
    """``state`` -> ``stateN``, ``h0`` -> ``hn``, ``past_x`` -> ``present_x`` ..."""
    pairs: dict[str, str] = {}
    outputs = {each.name.lower(): each for each in graph.outputs}
    for tensor in graph.inputs:
        name = tensor.name.lower()
        stem = name.removesuffix("_in").removesuffix("0")
        candidates = (f"{stem}n", f"{stem}_n", f"{stem}_out", f"new_{stem}", f"{stem}_new")
        for each in (*candidates, f"next_{stem}", name.replace("past", "present")):
            found = outputs.get(each)
            if found and found.name != tensor.name and tensor.name not in options.frozen:
                pairs.setdefault(tensor.name, found.name)
    return pairs


def _batch_axis(tensor: GraphTensor) -> int:
    """The free axis; else the second one of ``[layers, 1, hidden]``, as is usual."""
    axes = tensor.axes or ()
    if tensor.dtype not in ("float32", "float16"):
        raise AdoptionError(f"the state {tensor} is not float32 or float16")
    free = [place for place, axis in enumerate(axes) if not isinstance(axis, int)]
    ones = [place for place, axis in enumerate(axes) if axis == 1]
    if len(free) == 1:
        return free[0]
    if not free and ones:
        return 1 if 1 in ones else ones[0]
    raise AdoptionError(
        f"the state {tensor} has no axis that is clearly the batch; export it with one free axis"
    )
