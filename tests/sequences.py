"""Small sequence models, exported by the project itself, and what they say when asked directly."""

import string
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.models import build
from export.models.sequence import SequenceNetwork
from export.network import ArtifactWishes, Network, Origin
from export.resolve import export_network
from export.train.sequence_score import SequenceRunner
from service.manifest import ResidualQuantiles, SequenceSection, Task

VOCABULARY = (*string.ascii_lowercase, " ", ",", ".", "\n")
CONTEXT = 48
CHUNK = 8
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
    network = Network(
        module.eval(), (), (), architecture, Origin(source="a test"), Task.SEQUENCE, section
    )
    return export_network(network, ArtifactWishes(name or architecture, golden=golden), repository)


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
