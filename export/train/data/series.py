"""Two real time series and their training: monthly sunspots, daily minimum temperatures.

The last fifth is for testing. The last fifth of the rest is for validation: for early stopping and
for the residuals.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from export.errors import DataError
from export.models.sequence.sequence import SequenceNetwork
from export.train.loop import TrainingBatch, TrainingTask

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.2
HISTORY = 256
"""The length of the histories in validation, in steps."""


@dataclass(frozen=True)
class SeriesSource:
    """A CSV file with a heading: the date, and the value."""

    file: str
    column: str
    title: str
    """A description for the model card."""
    where: str
    """Where to get it."""


SUNSPOTS = SeriesSource(
    file="monthly-sunspots.csv",
    column="Sunspots",
    title="""the monthly mean sunspot number, Zurich, 1749 to 1983 (Andrews and Herzberg, "Data",
        1985)""",
    where="monthly-sunspots.csv of github.com/jbrownlee/Datasets",
)
TEMPERATURES = SeriesSource(
    file="daily-min-temperatures.csv",
    column="Temp",
    title="""the daily minimum temperature in Melbourne, 1981 to 1990, in degrees Celsius
        (Australian Bureau of Meteorology)""",
    where="daily-min-temperatures.csv of github.com/jbrownlee/Datasets",
)


@dataclass(frozen=True)
class Series:
    """A series ``[T, 1]`` float32, in its own units, cut into three."""

    values: Tensor
    validation_start: int
    test_start: int

    @property
    def training(self) -> Tensor:
        """The part for fitting weights."""
        return self.values[: self.validation_start]


def read_series(data_dir: Path, source: SeriesSource) -> Series:
    """Read and cut a series.

    Raises:
        DataError: the file is missing, has no such column, or holds something else than numbers.
    """
    path = data_dir / source.file
    try:
        with path.open(encoding="utf-8", newline="") as file:
            numbers = [float(row[source.column]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as err:
        raise DataError(
            f"cannot read {path} ({type(err).__name__}: {err}); --data must name a folder with"
            f" {source.file}, with a column {source.column}: {source.where}"
        ) from err
    if len(numbers) < 10 * HISTORY:
        raise DataError(f"{path} has only {len(numbers)} rows; get {source.where}")
    test_start = len(numbers) - round(len(numbers) * TEST_SHARE)
    validation_start = test_start - round(test_start * VALIDATION_SHARE)
    return Series(torch.tensor(numbers)[:, None], validation_start, test_start)


def forecast(network: SequenceNetwork, histories: Tensor, horizon: int) -> Tensor:
    """Iterated forecasts: each prediction becomes the next input.

    Args:
        network: for values.
        histories: ``[N, T, series]``.
        horizon: the number of steps ahead.

    Returns:
        ``[N, horizon, series]``.
    """
    prediction, state = network.prefill(histories, chunk=HISTORY)
    steps = [prediction]
    while len(steps) < horizon:
        answers, state = network.step(steps[-1][:, None], state)
        steps.append(answers[:, -1])
    return torch.stack(steps, dim=1)


def windows(values: Tensor, steps: int) -> Tensor:
    """All stretches of a series ``[T, series]``: ``[T - steps + 1, steps, series]``."""
    return values.unfold(0, steps, 1).transpose(1, 2)


def validation_errors(network: SequenceNetwork, series: Series, horizon: int) -> Tensor:
    """True value minus iterated forecast, ``[N, horizon, 1]``, from each step before the test."""
    last = series.test_start - horizon
    origins = torch.arange(series.validation_start, last + 1)
    chosen = windows(series.values, HISTORY + horizon)[origins - HISTORY]
    chosen = chosen.to(next(network.buffers()).device)  # every scaler has buffers
    return chosen[:, HISTORY:] - forecast(network, chosen[:, :HISTORY], horizon)


def forecasts_task(series: Series, window: int, horizon: int, batch_size: int) -> TrainingTask:
    """Forecast ``horizon`` steps from every place of the training part, in a new order each epoch.

    The loss is the mean absolute error over all steps, as in the score.
    """
    examples = windows(series.training, window + horizon)

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        for indices in torch.randperm(len(examples), generator=generator).split(batch_size):
            yield examples[indices, :window], examples[indices, window:]

    def loss(network: nn.Module, batch: TrainingBatch) -> Tensor:
        assert isinstance(network, SequenceNetwork)
        histories, futures = batch
        return (forecast(network, histories, horizon) - futures).abs().mean()

    def validate(network: nn.Module) -> float:
        assert isinstance(network, SequenceNetwork)
        return float(validation_errors(network, series, horizon).abs().mean())

    steps = -(-len(examples) // batch_size)
    return TrainingTask(steps_per_epoch=steps, batches=batches, loss=loss, validate=validate)
