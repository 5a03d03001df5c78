"""Running a sequence graph step by step along an example, so that golden states are real ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.adoption.graph_runner import check_answers, open_probe, run
from export.artifact.parity import RANDOM_SEED
from export.errors import AdoptionError
from service.artifact.manifest import TensorSpec

HISTORIES = (0, 3, 17, 60)
"""How many steps each golden row has behind it, where the example has as many."""
STEP_TOLERANCE = 2e-3
NamedArrays = dict[str, NDArray[Any]]


class SequenceStepper:
    """A graph whose states are batch first.

    Args:
        model: complete.
        folder: where it may be written for a moment; its external weights are there.
        inputs: what is observed, and the states.
        outputs: the answer, and the states.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        folder: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
    ) -> None:
        self._session = open_probe(model, folder)
        self._main, self._states, self._outputs = inputs[0], inputs[1:], outputs
        self._dtype = np.dtype(inputs[0].dtype)

    def rows(self, elements: NDArray[Any], time: int) -> tuple[NamedArrays, NamedArrays]:
        """Golden rows of ``time`` steps, with the states their histories left; and random ones."""
        wanted = {min(history, len(elements) - time) for history in HISTORIES}
        golden: list[NamedArrays] = []
        state = self._zeros()
        for place in range(max(wanted) + 1):
            if place in wanted:
                golden.append(self._feeds(elements[place : place + time], state))
            _, state = self._step(elements[place : place + 1], state)
        rng = np.random.default_rng(RANDOM_SEED)
        shuffled = [
            self._feeds(rng.permutation(elements)[:time], {k: v[:1] for k, v in each.items()})
            for each in golden[-2:]
        ]
        return _joined(golden), _joined(shuffled)

    def check_steps(self, elements: NDArray[Any]) -> None:
        """Hold the answer for many steps at once to that for the same steps, one by one.

        Raises:
            AdoptionError: they differ, so the state, or the axis of time, is not what it seems.
        """
        at_once, state_at_once = self._step(elements, self._zeros())
        state = self._zeros()
        alone: list[NDArray[Any]] = []
        for place in range(len(elements)):
            answer, state = self._step(elements[place : place + 1], state)
            alone.append(answer)
        pairs = [(np.concatenate(alone, axis=1), at_once)]
        pairs += [(state[name], state_at_once[name]) for name in state]
        for one_by_one, together in pairs:
            is_same = one_by_one.shape == together.shape
            if not is_same or not np.allclose(one_by_one, together, STEP_TOLERANCE, STEP_TOLERANCE):
                raise AdoptionError(
                    f"{len(elements)} time steps at once are answered otherwise than one by one:"
                    " the graph looks ahead, or its state is not what --state says"
                )

    def _zeros(self) -> NamedArrays:
        return {
            spec.name: np.zeros((1, *spec.row_shape()), np.dtype(spec.dtype))
            for spec in self._states
        }

    def _feeds(self, elements: NDArray[Any], state: NamedArrays) -> NamedArrays:
        is_frame = len(self._main.axes) == elements.ndim
        rows = elements if is_frame else elements[None]
        states = {name: state[name] for name in (spec.name for spec in self._states)}
        return {self._main.name: rows.astype(self._dtype), **states}

    def _step(self, elements: NDArray[Any], state: NamedArrays) -> tuple[NDArray[Any], NamedArrays]:
        outputs = run(self._session, self._feeds(elements, state))
        check_answers([spec.name for spec in self._outputs], outputs)
        names = [spec.name for spec in self._states]
        return outputs[0], dict(zip(names, outputs[1:], strict=True))


def _joined(rows: Sequence[NamedArrays]) -> NamedArrays:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
