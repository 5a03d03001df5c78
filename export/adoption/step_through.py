"""Running a sequence graph step by step on an example, so that golden states are real."""

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
"""The length of each golden row's history, in time steps; less if the example is shorter."""
STEP_TOLERANCE = 2e-3
NamedArrays = dict[str, NDArray[Any]]


class SequenceStepper:
    """Runs a graph whose states have the batch axis first.

    Args:
        model: the finished graph.
        folder: holds its external weights, and its file while it is opened.
        inputs: the time steps, then the states.
        outputs: the answer, then the states.
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
        """Golden rows of ``time`` steps, with the states after their histories; and random rows."""
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
        """Compare the answer to many steps at once with the answers to the same steps one by one.

        Raises:
            AdoptionError: they differ, so the states or the time axis are wrong.
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
                    f"the answers to {len(elements)} time steps at once and one by one differ: the"
                    " graph looks ahead, or --state names the wrong tensors"
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
