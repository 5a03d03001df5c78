"""The adoption of CTC networks: a whole history of values in, logits of tokens out, no state.

A graph that takes histories of any length is proved for a few, its buckets; a shorter history has
zeros behind it, which must not change what is read in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from export.adoption.artifact import Adopted, Description, Rows, write_artifact
from export.adoption.ctc_input import choose_lengths, find_blank, input_of, read_texts
from export.adoption.graph_description import GraphDescription
from export.adoption.graph_editor import GraphEditor
from export.adoption.graph_runner import check_answers, open_graph, run, save
from export.adoption.heads.head import Head
from export.adoption.image_input import Finding
from export.adoption.input_nodes import freeze_inputs
from export.adoption.options import Wishes
from export.adoption.sequence_examples import read_elements
from export.adoption.sequence_models import DEFAULT_BATCH_SIZE, TOLERANCE
from export.artifact.destination import Destination
from export.artifact.parity import RANDOM_SEED
from export.errors import AdoptionError, GoldenError, LabelsError
from service.artifact.manifest import Task, TensorSpec
from service.artifact.sections import CtcSection, SequenceSection
from service.processing.ctc import greedy, own_frames

HEAD = "ctc"
_MEANINGLESS = (("states", "--state"), ("frame", "--frame"), ("overlap", "--overlap"))


def is_transcription(wishes: Wishes) -> bool:
    """Whether the owner says that it is such a graph."""
    return (wishes.task, wishes.head) == (Task.SEQUENCE, HEAD)


@dataclass(frozen=True)
class _Logits:
    """The output that is kept."""

    name: str
    place: int
    """Among the graph's outputs."""
    classes: int


class TranscriptionAdoption:
    """One graph."""

    def __init__(self, model: onnx.ModelProto, graph: GraphDescription, wishes: Wishes) -> None:
        for field, flag in _MEANINGLESS:
            if getattr(wishes, field):
                raise AdoptionError(f"{flag} says nothing of a CTC network; leave it out")
        if len(wishes.examples) != 1:
            raise GoldenError("give one --example: a history that the network transcribes")
        self._graph, self._wishes = graph, wishes
        self._editor = GraphEditor(model)
        self._input = input_of(graph, wishes)
        self._texts = read_texts(wishes.labels)
        _, time, *series = self._input.axes or ("", "")
        as_samples = not series
        elements = read_elements(wishes.examples[0], (), int(as_samples), 0)
        self._values = elements[:, 0] if as_samples else elements
        if self._values.shape[1:] != tuple(series):
            raise GoldenError(
                f"the example has {elements.shape[1]} columns, and the input is {self._input}"
            )
        self._fixed = time if isinstance(time, int) else 0
        self._lengths, self._why_lengths = choose_lengths(
            wishes.lengths, self._fixed, len(self._values)
        )

    def write(self, destination: Destination) -> Adopted:
        """Everything, into its place."""
        freeze_inputs(self._editor, self._graph, self._wishes.frozen)
        probe = destination.partial / "probe.onnx"
        save(self._editor.model, probe)
        session = open_graph(probe)
        probe.unlink()
        logits = self._find_logits(session)
        blank, why_blank = find_blank(self._texts, self._wishes.blank)
        frames = [self._count_frames(session, logits, length) for length in self._lengths]
        heard = self._listen(session, logits, blank)
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
        head = Head(HEAD, specs[1:], (), TOLERANCE, section, findings)
        description = Description(specs[:1], None, self._max_batch_size(), False, ())
        adopted = write_artifact(
            destination, self._editor.model, self._wishes, self._graph, description, head, parts
        )
        return replace(adopted, examples=self._values[None], answers=[heard[None]])

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
                f"there are {count} labels and no output tells so many classes apart: {shapes};"
                " give one label a class, in their order, the blank's among them"
            )
        rows = outputs[chosen.place][0]
        if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3):
            raise AdoptionError(
                f"{chosen.name} are probabilities already; export the graph without its softmax"
            )
        return chosen

    def _count_frames(
        self, session: onnxruntime.InferenceSession, logits: _Logits, length: int
    ) -> int:
        outputs = self._run(session, self._padded(self._values, length))
        count = outputs[logits.place].shape[1]
        if not count:
            raise AdoptionError(
                f"the graph has no answer for {length} time steps; name longer ones"
            )
        return count

    def _listen(
        self, session: onnxruntime.InferenceSession, logits: _Logits, blank: int
    ) -> NDArray[np.float32]:
        """The example's own logits ``[frames, V]``, once what is behind it is known not to matter.

        Raises:
            AdoptionError: padded with zeros, another text is read.
        """
        count = len(self._values)
        length = next(each for each in self._lengths if each >= count)
        row = self._run(session, self._padded(self._values, length))[logits.place][0]
        padded = own_frames(row, count, length)
        if self._fixed or length == count:
            return padded
        alone = self._run(session, self._values)[logits.place][0]
        read = [greedy(each, blank).tokens for each in (alone, padded)]
        if read[0] != read[1]:
            texts = [repr("".join(self._texts[token] for token in tokens)) for tokens in read]
            raise AdoptionError(
                f"the example is read as {texts[0]} alone, and as {texts[1]} with zeros behind it,"
                f" in {length} time steps: declare the exact --lengths of your histories, such as"
                f" {count}, or export the graph so that zeros do not matter"
            )
        return alone

    def _keep(self, logits: _Logits, frames: Sequence[int]) -> tuple[TensorSpec, TensorSpec]:
        """Declare the logits as the only output; returns the input and the output."""
        time = self._fixed or "time"
        rest = tuple(int(size) for size in self._values.shape[1:])
        values = TensorSpec(name=self._input.name, dtype="float32", axes=("batch", time, *rest))
        axes = ("batch", frames[0] if self._fixed else "frames", logits.classes)
        del self._editor.graph.output[:]
        self._editor.declare_output(logits.name, onnx.TensorProto.FLOAT, axes)
        return values, TensorSpec(name=logits.name, dtype="float32", axes=axes)

    def _rows(self, bucket: dict[str, int], length: int) -> Rows:
        """The example, cut or padded; the same in another order and half as loud."""
        shuffled = np.random.default_rng(RANDOM_SEED).permutation(self._values)
        probes = [self._padded(each, length) for each in (shuffled, self._values / 2)]
        name = self._input.name
        golden = self._padded(self._values, length)[None]
        return Rows(bucket, {name: golden}, {name: np.stack(probes)})

    def _section(self, blank: int) -> SequenceSection:
        texts = (*self._texts[:blank], "", *self._texts[blank + 1 :])
        series = self._values.shape[1] if self._values.ndim == 2 else 1
        return SequenceSection(
            kind="values", vocabulary=texts, series=series, ctc=CtcSection(blank=blank)
        )

    def _max_batch_size(self) -> int:
        wish = self._wishes.max_batch_size
        if not isinstance((self._input.axes or ("",))[0], int):
            return wish or DEFAULT_BATCH_SIZE
        if wish not in (None, 1):
            raise AdoptionError(f"the graph takes one history at a time, not {wish}")
        return 1
