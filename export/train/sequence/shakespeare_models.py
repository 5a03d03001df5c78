"""Recipes ``shakespeare-*``: seven models that continue a text, from the counted to attention."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from export.errors import DataError
from export.models import build
from export.models.sequence.markov import MarkovModel
from export.models.sequence.recurrent import RecurrentLayers, RecurrentNetwork
from export.pytorch.description import WeightsDescription
from export.train.data.shakespeare import SHAKESPEARE_FILE, Text, read_shakespeare, windows_task
from export.train.loop import fit, pick_device
from export.train.recipe import Floor, Recipe
from export.train.report import Subject
from export.train.schedule import Schedule
from export.train.sequence.report import TrainedSequenceModel, finish
from export.train.sequence.score import bits_per_character
from service.artifact.manifest import Task, read_manifest
from service.artifact.sections import SequenceSection

METRIC = "bits_per_character"
SMOOTHING = 0.1
"""Added to each count of the Markov model."""


@dataclass(frozen=True)
class TextModel:
    """Which network, and how it is trained."""

    name: str
    architecture: str
    network: str
    """The network in a sentence, for the model card."""
    floor: float
    """What the exported artifact must stay below on the last tenth, in bits per character."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """The constructor's parameters, beside ``vocabulary_size``."""
    schedule: Schedule | None = None
    """None: the model is counted."""
    window: int = 128
    """Characters of a training example."""
    dropout: float = 0.0
    holds_out: bool = True
    """Whether the last twentieth of the nine tenths only says when to stop. The play with which the
    test begins starts there, so a network that never learns from it knows none of its people."""

    def description(self, text: Text) -> WeightsDescription:
        """What the weights say of themselves, but for the score."""
        return WeightsDescription(
            task=Task.SEQUENCE,
            architecture=self.architecture,
            options={"vocabulary_size": len(text.vocabulary), **self.options},
            sequence=SequenceSection(kind="tokens", vocabulary=text.vocabulary),
            recipe="export.train.sequence.shakespeare_models",
            seed=self.schedule.seed if self.schedule else 0,
            data="Tiny Shakespeare, first nine tenths",
            licence="Apache-2.0",
            metrics={},
        )

    @property
    def subject(self) -> Subject:
        """The model card's words."""
        training = COUNTED_TEXT
        if self.schedule:
            part = HELD_OUT_TEXT if self.holds_out else ALL_TEXT
            training = TRAINED_TEXT.format(part=part, window=self.window, dropout=self.dropout)
        return Subject(
            name=self.name,
            title=f"{self.name}: how a play of Shakespeare goes on, character by character",
            command=f"sightline train {self.name} --data DIR",
            network=self.network,
            training=training,
            data=DATA_TEXT,
            limits=LIMITS_TEXT,
            licence="The weights: Apache-2.0, as the project.",
        )


COUNTED_TEXT = f"""Transitions were counted on the first nine tenths of the text, {SMOOTHING} added
    to each count."""
TRAINED_TEXT = """On the first nine tenths of the text, {part}. Windows of {window} characters, cut
    anew every epoch, each from an empty state; dropout {dropout}, bfloat16 autocast."""
HELD_OUT_TEXT = """of which the last twentieth was held out to choose the epoch whose weights are
    kept"""
ALL_TEXT = """all of them: nothing was chosen along the way, and the weights are those of the last
    epoch"""
DATA_TEXT = """Tiny Shakespeare (Andrej Karpathy, 2015): 1.1 million characters of Shakespeare's
    plays, in the public domain. `--data DIR` names a folder with `tinyshakespeare.txt`, which is
    `data/tinyshakespeare/input.txt` of github.com/karpathy/char-rnn. The last tenth is the test."""
LIMITS_TEXT = """It knows 65 characters and nothing but these plays: it continues any text as if it
    were one of them, with words that look right and no meaning. It is meant for demonstrations and
    tests."""


def run(model: TextModel, data_dir: Path, output_dir: Path, epochs: int | None = None) -> Path:
    """Train, export, score, report; returns the weights file."""
    text = read_shakespeare(data_dir)
    trained = learn(model, text, output_dir / "checkpoint.pt", epochs)
    return finish(trained, model.subject, partial(score, data_dir=data_dir), output_dir)


def learn(
    model: TextModel, text: Text, checkpoint: Path, epochs: int | None
) -> TrainedSequenceModel:
    """Count or train."""
    description = model.description(text)
    schedule = model.schedule
    torch.manual_seed(description.seed)
    if schedule is None:
        network = build(model.architecture, **description.options)
        assert isinstance(network, MarkovModel)
        network.count(torch.cat([text.training, text.validation]), SMOOTHING)
        return TrainedSequenceModel(network, description)
    schedule = schedule if epochs is None else replace(schedule, epochs=epochs)
    network = build(model.architecture, **description.options, dropout=model.dropout)
    if isinstance(network, RecurrentNetwork) and isinstance(network.layers, RecurrentLayers):
        network.layers = network.layers.fused()
    task = windows_task(text, model.window, schedule.batch_size, holds_out=model.holds_out)
    progression = fit(network, task, schedule, checkpoint, pick_device())
    return TrainedSequenceModel(network, description, schedule, progression)


def score(artifact_dir: Path, data_dir: Path) -> dict[str, float]:
    """Bits per character of an artifact on the last tenth.

    Raises:
        DataError: the data cannot be read, or the artifact knows other characters.
    """
    text = read_shakespeare(data_dir)
    section = read_manifest(artifact_dir.resolve())[0].sequence
    if section is None or section.vocabulary != text.vocabulary:
        raise DataError(f"{artifact_dir} does not have the vocabulary of {SHAKESPEARE_FILE}")
    return {METRIC: bits_per_character(artifact_dir, text.test.numpy())}


def adamw(epochs: int, peak_learning_rate: float, batch_size: int = 32) -> Schedule:
    """What all trained models have in common."""
    return Schedule(
        epochs=epochs,
        batch_size=batch_size,
        peak_learning_rate=peak_learning_rate,
        warm_up_share=0.1,
        weight_decay=0.01,
        optimizer="adamw",
        gradient_clip=1.0,
        patience=3,
    )


MODELS = (
    TextModel(
        name="shakespeare-markov",
        architecture="markov",
        network="A Markov model of order 1: how often each character follows each other one.",
        floor=3.6,
    ),
    TextModel(
        name="shakespeare-ar",
        architecture="autoregressive",
        options={"order": 8, "hidden_size": 640, "width": 32},
        network="""An autoregressive model of order 8: a perceptron over the last eight characters
            (Bengio et al. 2003) with 640 hidden units.""",
        schedule=adamw(epochs=8, peak_learning_rate=2e-3),
        dropout=0.1,
        floor=2.85,
    ),
    TextModel(
        name="shakespeare-latent-ar",
        architecture="latent_autoregressive",
        options={"traces": 8, "features": 64, "hidden_size": 640},
        network="""A latent autoregressive model: 64 features of each character fade at eight rates;
            a perceptron with 640 hidden units reads this memory.""",
        schedule=adamw(epochs=8, peak_learning_rate=2e-3),
        dropout=0.1,
        floor=2.85,
    ),
    TextModel(
        name="shakespeare-rnn",
        architecture="rnn",
        options={"hidden_size": 512},
        network="A vanilla recurrent network (Elman 1990) with one layer of 512 units.",
        schedule=adamw(epochs=10, peak_learning_rate=1e-3),
        dropout=0.1,
        floor=2.6,
    ),
    TextModel(
        name="shakespeare-lstm",
        architecture="lstm",
        options={"hidden_size": 384},
        network="Long short-term memory (Hochreiter and Schmidhuber 1997), one layer of 384 units.",
        schedule=adamw(epochs=12, peak_learning_rate=3e-3),
        dropout=0.4,
        floor=2.35,
    ),
    TextModel(
        name="shakespeare-gru",
        architecture="gru",
        options={"hidden_size": 384},
        network="Gated recurrent units (Cho et al. 2014), one layer of 384 units.",
        schedule=adamw(epochs=10, peak_learning_rate=3e-3),
        dropout=0.2,
        floor=2.35,
    ),
    TextModel(
        name="shakespeare-transformer",
        architecture="transformer",
        options={"width": 160, "num_layers": 4, "num_heads": 4, "num_kv_heads": 1}
        | {"context": 256, "positions": "rotary"},
        network="""A decoder-only Transformer (Vaswani et al. 2017): four blocks of width 160 with
            four heads that share keys and values (Shazeer 2019), a context of 256 characters,
            rotary positions (Su et al. 2021).""",
        schedule=replace(
            adamw(epochs=24, peak_learning_rate=3e-3, batch_size=8),
            optimizer="muon",
            weight_decay=0.1,
            patience=None,
        ),
        window=256,
        dropout=0.2,
        holds_out=False,
        floor=2.35,
    ),
)

RECIPES = tuple(
    Recipe(
        name=model.name,
        held_out="Tiny Shakespeare, last tenth",
        run=partial(run, model),
        score=score,
        floors=(Floor(METRIC, at_most=model.floor),),
    )
    for model in MODELS
)
