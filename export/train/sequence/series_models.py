"""Recipes ``sunspots-*`` and ``temperature-*``: four kinds of model that forecast a series."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from export.models import build
from export.models.sequence.markov import BinnedMarkovModel
from export.models.sequence.sequence import SequenceNetwork
from export.pytorch.description import WeightsDescription
from export.train.data.series import (
    SUNSPOTS,
    TEMPERATURES,
    Series,
    SeriesSource,
    forecasts_task,
    read_series,
    validation_errors,
)
from export.train.loop import fit, pick_device
from export.train.recipe import Floor, Recipe
from export.train.report import Subject
from export.train.schedule import Schedule
from export.train.sequence.report import TrainedSequenceModel, finish
from export.train.sequence.score import coverage, forecast_errors, forecast_scores
from service.artifact.manifest import Task, read_manifest
from service.artifact.sections import ResidualQuantiles, SequenceSection

HORIZON = 12
WINDOW = 132
"""Steps of the past in a training example; a sunspot cycle has about as many."""
LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
INTERVAL = 0.8
STICKINESS = 1.0
"""Of the Markov model: chosen on the validation part, from 0, 1, 2, 3, 4 and 9."""
SCHEDULE = Schedule(
    epochs=16,
    batch_size=64,
    peak_learning_rate=5e-3,
    warm_up_share=0.1,
    weight_decay=0.01,
    bfloat16=False,
    optimizer="adamw",
    gradient_clip=1.0,
    patience=6,
)


@dataclass(frozen=True)
class Forecaster:
    """Which network."""

    suffix: str
    architecture: str
    network: str
    """The network in a sentence, for the model card."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


FORECASTERS = (
    Forecaster(
        suffix="markov",
        architecture="binned_markov",
        options={"bins": 24},
        network="""A Markov model over 24 bins of the series: the next value is the last one and the
            mean move from its bin.""",
    ),
    Forecaster(
        suffix="ar",
        architecture="autoregressive",
        options={"series": 1, "order": 24, "hidden_size": 16},
        network="""An autoregressive model of order 24: a perceptron with 16 hidden units over the
            last 24 values.""",
    ),
    Forecaster(
        suffix="latent-ar",
        architecture="latent_autoregressive",
        options={"series": 1, "traces": 6, "features": 4, "hidden_size": 32},
        network="""A latent autoregressive model: four features of each value fade at six rates; a
            perceptron with 32 hidden units reads this memory.""",
    ),
    Forecaster(
        suffix="gru",
        architecture="gru",
        options={"series": 1, "hidden_size": 16},
        network="Gated recurrent units (Cho et al. 2014), one layer of 16 units.",
    ),
)
PREFIXES = {"sunspots": SUNSPOTS, "temperature": TEMPERATURES}

COUNTED_TEXT = f"""Transitions were counted on the first 64 %, and as many of each bin to itself as
    it had visits ({STICKINESS:g} times; chosen on the next 16 %)."""
TRAINED_TEXT = f"""On the first 64 %; the next 16 % chose the epoch whose weights are kept. Each
    example: {WINDOW} values, and the {HORIZON} behind them to be forecast step by step, each
    forecast being read as if it had been observed; the loss is the mean absolute error."""
LIMITS_TEXT = """It knows this one series and its units, and expects the future to be like the past.
    Prediction intervals are quantiles of its errors on the 16 % that no weight was fitted to; where
    later years are wilder than those, as sunspots after 1936 are, intervals are too narrow, as
    `coverage_80` shows. It is meant for demonstrations and tests."""


def subject(name: str, forecaster: Forecaster, source: SeriesSource) -> Subject:
    """The model card's words."""
    is_counted = forecaster.architecture == "binned_markov"
    return Subject(
        name=name,
        title=f"{name}: the next values of a series",
        command=f"sightline train {name} --data DIR",
        network=forecaster.network,
        training=COUNTED_TEXT if is_counted else TRAINED_TEXT,
        data=f"""The series: {source.title}. `--data DIR` names a folder with `{source.file}`:
            {source.where}. The last fifth is the test; scores are of iterated forecasts from each
            of its places, all true values before it being known. `persistence` is the last value,
            repeated; `skill` is 1 less the ratio of the errors; `coverage_80` is the share of the
            true values, up to {HORIZON} steps ahead, in the 80 % prediction interval.""",
        limits=LIMITS_TEXT,
        licence="The weights: Apache-2.0, as the project.",
    )


def run(
    prefix: str,
    forecaster: Forecaster,
    data_dir: Path,
    output_dir: Path,
    epochs: int | None = None,
) -> Path:
    """Train, export, score, report; returns the weights file."""
    source = PREFIXES[prefix]
    series = read_series(data_dir, source)
    schedule = SCHEDULE if epochs is None else replace(SCHEDULE, epochs=epochs)
    trained = learn(forecaster, series, schedule, output_dir / "checkpoint.pt")
    words = subject(f"{prefix}-{forecaster.suffix}", forecaster, source)
    return finish(trained, words, partial(score, source, data_dir=data_dir), output_dir)


def learn(
    forecaster: Forecaster, series: Series, schedule: Schedule, checkpoint: Path
) -> TrainedSequenceModel:
    """Count or train, and measure the errors on the validation part."""
    torch.manual_seed(schedule.seed)
    network = build(forecaster.architecture, **forecaster.options)
    assert isinstance(network, SequenceNetwork)
    progression = None
    if isinstance(network, BinnedMarkovModel):
        network.count(series.training, stickiness=STICKINESS)
    else:
        assert network.scaler is not None
        network.scaler.fit(series.training)
        task = forecasts_task(series, WINDOW, HORIZON, schedule.batch_size)
        progression = fit(network, task, schedule, checkpoint, pick_device())
    description = WeightsDescription(
        task=Task.SEQUENCE,
        architecture=forecaster.architecture,
        options=dict(forecaster.options),
        sequence=SequenceSection(
            kind="values", series=1, residuals=residuals(network.cpu(), series)
        ),
        recipe="export.train.sequence.series_models",
        seed=schedule.seed,
        data="the series' first four fifths",
        licence="Apache-2.0",
        metrics={},
    )
    return TrainedSequenceModel(
        network, description, schedule if progression else None, progression
    )


@torch.inference_mode()
def residuals(network: SequenceNetwork, series: Series) -> ResidualQuantiles:
    """Quantiles of the errors on the validation part, to four digits."""
    errors = validation_errors(network, series, HORIZON)
    quantiles = errors.quantile(torch.tensor(LEVELS), dim=0)  # [level, horizon, series]
    values = quantiles.transpose(0, 1).tolist()
    rounded = [[[float(f"{each:.4g}") for each in row] for row in rows] for rows in values]
    return ResidualQuantiles.model_validate({"levels": LEVELS, "values": rounded})


def score(source: SeriesSource, artifact_dir: Path, data_dir: Path) -> dict[str, float]:
    """Errors of an artifact on the last fifth, and how often its 80 % interval is right."""
    series = read_series(data_dir, source)
    values = series.values.numpy()
    errors = forecast_errors(artifact_dir, values, series.test_start, HORIZON)
    scores = forecast_scores(errors, values, series.test_start)
    section = read_manifest(artifact_dir.resolve())[0].sequence
    if section and section.residuals:
        scores["coverage_80"] = coverage(errors, section.residuals, INTERVAL)
    return scores


RECIPES = tuple(
    Recipe(
        name=f"{prefix}-{forecaster.suffix}",
        held_out=f"{source.file}, last fifth",
        run=partial(run, prefix, forecaster),
        score=partial(score, source),
        floors=(Floor("skill_1", at_least=0.0), Floor(f"skill_{HORIZON}", at_least=0.0)),
    )
    for prefix, source in PREFIXES.items()
    for forecaster in FORECASTERS
)
