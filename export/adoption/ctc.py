"""The adoption of CTC networks: a whole history of values in, logits of tokens out, no state.

A graph that takes any length is checked at a few lengths, its buckets. A shorter history is padded
with zeros, and the padding must not change the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from export.adoption.artifact import Adopted, AdoptedInputs, BucketRows, write_artifact
from export.adoption.ctc_input import choose_lengths, find_blank, input_of, read_texts
from export.adoption.graph_description import GraphDescription
from export.adoption.graph_editor import GraphEditor
from export.adoption.graph_runner import check_answers, open_probe, run
from export.adoption.heads.head import Head
from export.adoption.image_input import Finding
from export.adoption.input_nodes import freeze_inputs
from export.adoption.options import AdoptionOptions
from export.adoption.sequence_examples import read_elements
from export.adoption.sequence_models import DEFAULT_BATCH_SIZE
from export.artifact.destination import Destination
from export.artifact.parity import RANDOM_SEED
from export.artifact.tolerances import ADOPTED_SEQUENCE_TOLERANCE
from export.errors import AdoptionError, GoldenError, LabelsError
from service.artifact.manifest import Task, TensorSpec
from service.artifact.sections import CtcSection, SequenceSection
from service.processing.ctc import greedy, own_frames

HEAD = "ctc"
_MEANINGLESS = ("--state", "--frame", "--overlap")


def is_ctc(options: AdoptionOptions) -> bool:
    """Whether the owner asks for the head ``ctc``."""
    return (options.task, options.head) == (Task.SEQUENCE, HEAD)


@dataclass(frozen=True)
class _Logits:
    """The output that holds the logits."""

    name: str
    place: int
    """Its index among the graph's outputs."""
    classes: int


class CtcAdoption:
    """The adoption of one CTC network."""

    def __init__(
        self, model: onnx.ModelProto, graph: GraphDescription, options: AdoptionOptions
    ) -> None:
        options.refuse(_MEANINGLESS, "a CTC network")
        if len(options.examples) != 1:
            raise GoldenError("give one --example, a history that the network transcribes")
        self._graph, self._options = graph, options
        self._editor = GraphEditor(model)
        self._input = input_of(graph, options)
        self._texts = read_texts(options.labels)
        _, time, *series = self._input.axes or ("", "")
        as_samples = not series
        elements = read_elements(options.examples[0], (), int(as_samples), 0)
        self._values = elements[:, 0] if as_samples else elements
        if self._values.shape[1:] != tuple(series):
            raise GoldenError(
                f"the example has {elements.shape[1]} columns and does not fit the input"
                f" {self._input}"
            )
        self._fixed = time if isinstance(time, int) else 0
        self._lengths, self._why_lengths = choose_lengths(
            options.lengths, self._fixed, len(self._values)
        )

    def write(self, destination: Destination) -> Adopted:
        """Write the artifact."""
        freeze_inputs(self._editor, self._graph, self._options.frozen)
        session = open_probe(self._editor.model, destination.partial)
        logits = self._find_logits(session)
        blank, why_blank = find_blank(self._texts, self._options.blank)
        frames = [self._count_frames(session, logits, length) for length in self._lengths]
        example_logits = self._example_logits(session, logits, blank)
        specs = self._keep(logits, frames)
        parts = [
            self._rows({} if self._fixed else {"time": length, "frames": count}, length)
            for length, count in zip(self._lengths, frames, strict=True)
        ]
        section = self._section(blank)
        findings = (
            Finding("values", str(self._input), "the only input that is not frozen"),
            Finding("head", f"ctc: {logits.name} [batch, frames, {logits.classes}]", "--head"),
            Finding("blank", f"{blank} {self._texts[blank]!r}", why_blank),
            Finding("lengths", ", ".join(map(str, self._lengths)), self._why_lengths),
        )
        head = Head(HEAD, specs[1:], (), ADOPTED_SEQUENCE_TOLERANCE, section, findings)
        description = AdoptedInputs(specs[:1], None, self._max_batch_size(), False, ())
        adopted = write_artifact(
            destination, self._editor.model, self._options, self._graph, description, head, parts
        )
        return replace(adopted, examples=self._values[None], answers=[example_logits[None]])

    def _run(self, session: onnxruntime.InferenceSession, values: NDArray[Any]) -> list[Any]:
        outputs = run(session, {self._input.name: values[None]})
        check_answers([each.name for each in self._graph.outputs], outputs)
        return outputs

    def _padded(self, values: NDArray[Any], length: int) -> NDArray[np.float32]:
        row = np.zeros((length, *values.shape[1:]), np.float32)
        row[: len(values)] = values[:length]
        return row

    def _find_logits(self, session: onnxruntime.InferenceSession) -> _Logits:
        outputs = self._run(session, self._padded(self._values, self._lengths[-1]))
        names = [each.name for each in session.get_outputs()]
        fitting = [
            _Logits(names[place], place, output.shape[2])
            for place, output in enumerate(outputs)
            if output.dtype == np.float32 and output.ndim == 3 and output.shape[0] == 1
        ]
        shapes = "; ".join(
            f"{name} {output.dtype}{list(output.shape)}"
            for name, output in zip(names, outputs, strict=True)
        )
        if not fitting:
            raise AdoptionError(f"no output is float32 [batch, frames, classes]: {shapes}")
        count = len(self._texts)
        chosen = next((each for each in fitting if each.classes == count), None)
        if chosen is None:
            raise LabelsError(
                f"there are {count} labels and no output has {count} classes: {shapes}; give one"
                " label per class, in the order of the outputs, with the blank's"
            )
        rows = outputs[chosen.place][0]
        if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3):
            raise AdoptionError(
                f"{chosen.name} holds probabilities; export the graph without its softmax"
            )
        return chosen

    def _count_frames(
        self, session: onnxruntime.InferenceSession, logits: _Logits, length: int
    ) -> int:
        outputs = self._run(session, self._padded(self._values, length))
        count = outputs[logits.place].shape[1]
        if not count:
            raise AdoptionError(
                f"the graph has no answer for {length} time steps; give longer --lengths"
            )
        return count

    def _example_logits(
        self, session: onnxruntime.InferenceSession, logits: _Logits, blank: int
    ) -> NDArray[np.float32]:
        """The example's logits ``[frames, V]``, once padding has proved harmless.

        Raises:
            AdoptionError: the padded example has another text.
        """
        count = len(self._values)
        length = next(each for each in self._lengths if each >= count)
        row = self._run(session, self._padded(self._values, length))[logits.place][0]
        padded = own_frames(row, count, length)
        if self._fixed or length == count:
            return padded
        alone = self._run(session, self._values)[logits.place][0]
        tokens_read = [greedy(each, blank).tokens for each in (alone, padded)]
        if tokens_read[0] != tokens_read[1]:
            texts = [
                repr("".join(self._texts[token] for token in tokens)) for tokens in tokens_read
            ]
            raise AdoptionError(
                f"the example's text is {texts[0]} alone and {texts[1]} when it is padded with"
                f" zeros to {length} time steps; give the exact --lengths of your histories, such"
                f" as {count}, or export the graph so that padding does not matter"
            )
        return alone

    def _keep(self, logits: _Logits, frames: Sequence[int]) -> tuple[TensorSpec, TensorSpec]:
        """Declare the logits as the only output; returns the specs of input and output."""
        time = self._fixed or "time"
        rest = tuple(int(size) for size in self._values.shape[1:])
        values = TensorSpec(name=self._input.name, dtype="float32", axes=("batch", time, *rest))
        axes = ("batch", frames[0] if self._fixed else "frames", logits.classes)
        kept = TensorSpec(name=logits.name, dtype="float32", axes=axes)
        self._editor.answer_with([kept])
        return values, kept

    def _rows(self, bucket: dict[str, int], length: int) -> BucketRows:
        """The example, cut or padded; as probes, the same shuffled, and the same halved."""
        shuffled = np.random.default_rng(RANDOM_SEED).permutation(self._values)
        probes = [self._padded(each, length) for each in (shuffled, self._values / 2)]
        name = self._input.name
        golden = self._padded(self._values, length)[None]
        return BucketRows(bucket, {name: golden}, {name: np.stack(probes)})

    def _section(self, blank: int) -> SequenceSection:
        texts = (*self._texts[:blank], "", *self._texts[blank + 1 :])
        series = self._values.shape[1] if self._values.ndim == 2 else 1
        return SequenceSection(
            kind="values", vocabulary=texts, series=series, ctc=CtcSection(blank=blank)
        )

    def _max_batch_size(self) -> int:
        is_free = not isinstance((self._input.axes or ("",))[0], int)
        return self._options.batch_size("history", DEFAULT_BATCH_SIZE, is_free=is_free)
