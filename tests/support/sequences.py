"""Small sequence models, exported by the project itself, and what they say when asked directly."""

import string
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.artifact.spec import Origin
from export.models import build
from export.models.sequence.sequence import SequenceNetwork
from export.pytorch.network import ArtifactOptions, Network
from export.pytorch.resolve import export_network
from export.train.sequence.score import SequenceRunner
from service.artifact.manifest import (
    Task,
    TensorSpec,
)
from service.artifact.sections import ResidualQuantiles, SequenceSection, SequenceState
from tests.support.artifact_files import save_artifact

VOCABULARY = (*string.ascii_lowercase, " ", ",", ".", "\n")
CONTEXT = 48
CHUNK = 8
FRAME, OVERLAP = 4, 2
TEXT = SequenceSection(kind="tokens", vocabulary=VOCABULARY, chunk=CHUNK)
NUMBERS = SequenceSection(kind="values", series=2, chunk=CHUNK)
RESIDUALS = ResidualQuantiles(
    levels=(0.05, 0.5, 0.95), values=(((-1, -2), (0, 0), (1, 2)), ((-3, -6), (0, 0), (3, 6)))
)
_TOKENS = {"vocabulary_size": len(VOCABULARY)}
_NETWORKS: dict[str, tuple[SequenceSection, dict[str, Any]]] = {
    "lstm": (TEXT, {"hidden_size": 24, **_TOKENS}),
    "transformer": (
        TEXT,
        {"width": 16, "num_layers": 1, "num_heads": 2, "context": CONTEXT, **_TOKENS},
    ),
    "gru": (NUMBERS.model_copy(update={"residuals": RESIDUALS}), {"hidden_size": 8, "series": 2}),
    "markov": (TEXT, _TOKENS),
    "autoregressive": (TEXT, {"order": 5, "hidden_size": 16, **_TOKENS}),
}
ARCHITECTURES = tuple(_NETWORKS)
GOLDEN = "the sun shines on all of us, the same every day.\nand so it goes, as the days go by.\n"


def write_sequence_artifact(repository: Path, architecture: str, name: str = "") -> Path:
    """Export an untrained network whose weights are always the same."""
    section, options = _NETWORKS[architecture]
    torch.manual_seed(3)
    module = build(architecture, **options)
    assert isinstance(module, SequenceNetwork)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 2  # so that what is said depends on what came before
    golden: tuple[Path, ...] = ()
    if module.scaler is not None:
        module.scaler.fit(torch.tensor([[0.0, 10.0], [4.0, 50.0], [8.0, 30.0]]))
    else:
        golden = (repository.with_suffix(".txt"),)
        golden[0].write_text(GOLDEN)
    origin = Origin(source="a test")
    network = Network(module.eval(), None, (), architecture, origin, Task.SEQUENCE, section)
    return export_network(network, ArtifactOptions(name or architecture, golden=golden), repository)


def encode(text: str) -> NDArray[np.int64]:
    return np.array([VOCABULARY.index(character) for character in text])


def continue_greedily(artifact: Path, text: str, steps: int) -> str:
    """What the artifact says, alone, step by step."""
    runner, said = SequenceRunner(artifact, 1), ""
    predictions = runner.read(encode(text)[None])[:, -1]
    while len(said) < steps:
        token = int(predictions[0].argmax())
        said += VOCABULARY[token]
        if len(said) < steps:
            predictions = runner.step(np.array([[token]]))[:, -1]
    return said


def forecast(artifact: Path, values: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """The next values, ``[steps, series]``."""
    runner = SequenceRunner(artifact, 1)
    made = [runner.read(values[None])[:, -1:]]
    while len(made) < steps:
        made.append(runner.step(made[-1]))
    return np.concatenate(made, axis=1)[0]


def write_frame_artifact(repository: Path, name: str = "frames") -> Path:
    """A graph as voice detectors are: frames of 4 samples, 2 more in front, a state of its own.

    ``score = mean(samples) + sum(state)``, ``new state = state / 2 + mean(samples)``.
    """

    def value(name: str, *axes: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *axes])

    nodes = [
        helper.make_node("ReduceMean", ["samples", "last"], ["mean"], keepdims=1),
        helper.make_node("ReduceSum", ["state", "last"], ["sum"], keepdims=1),
        helper.make_node("Add", ["mean", "sum"], ["score"]),
        helper.make_node("Mul", ["state", "half"], ["faded"]),
        helper.make_node("Add", ["faded", "mean"], ["new_state"]),
    ]
    constants = {"last": np.array([1]), "half": np.array(0.5, np.float32)}
    graph = helper.make_graph(
        nodes,
        "frames",
        [value("samples", OVERLAP + FRAME), value("state", 2)],
        [value("score", 1), value("new_state", 2)],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    samples = np.arange(3 * (OVERLAP + FRAME), dtype=np.float32).reshape(3, -1)
    state = np.ones((3, 2), np.float32)
    mean = samples.mean(axis=1, keepdims=True)
    golden = {"samples": samples, "state": state, "score": mean + 2, "new_state": state / 2 + mean}
    specs = {
        key: TensorSpec(name=key, dtype="float32", axes=("batch", array.shape[1]))
        for key, array in golden.items()
    }
    return save_artifact(
        repository / name / "1",
        model,
        golden,
        task=Task.SEQUENCE,
        architecture="frames",
        inputs=(specs["samples"], specs["state"]),
        outputs=(specs["score"], specs["new_state"]),
        sequence=SequenceSection(
            kind="values",
            series=1,
            states=(SequenceState(input="state", output="new_state"),),
            frame=FRAME,
            overlap=OVERLAP,
        ),
    )


def score_frames(samples: NDArray[np.float32]) -> list[float]:
    """What that graph says to each full frame."""
    scores: list[float] = []
    state, before = 0.0, np.zeros(OVERLAP)
    for start in range(0, len(samples) - FRAME + 1, FRAME):
        frame = samples[start : start + FRAME]
        mean = float(np.concatenate([before, frame]).mean())
        scores.append(mean + 2 * state)
        state, before = state / 2 + mean, frame[-OVERLAP:]
    return scores
