import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from export.errors import DataError
from export.models import build
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import read_description
from export.train.data.series import SUNSPOTS, TEMPERATURES, read_series
from export.train.data.shakespeare import SHAKESPEARE_FILE, cut, read_shakespeare, windows_task
from export.train.loop import TrainingBatch, TrainingTask, fit
from export.train.schedule import Schedule, make_optimizers
from export.train.sequence import series_models, shakespeare_models
from export.train.sequence.score import coverage, forecast_scores, windows
from service.artifact.sections import ResidualQuantiles

CPU = torch.device("cpu")
SCHEDULE = Schedule(epochs=4, batch_size=8, peak_learning_rate=0.01, bfloat16=False)


def linear_task(losses: list[float] | None = None) -> TrainingTask:
    """Fit a line; ``losses`` are what validation will say."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=generator)
    y = x @ torch.tensor([[1.0], [-2.0], [3.0]])

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        for indices in torch.randperm(64, generator=generator).split(8):
            yield x[indices], y[indices]

    def loss(network: nn.Module, batch: TrainingBatch) -> Tensor:
        return (network(batch[0]) - batch[1]).square().mean()

    said = iter(losses or [])
    return TrainingTask(8, batches, loss, (lambda _: next(said)) if losses else None)


def line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def weights_after(epochs: int, checkpoint: Path) -> Tensor:
    """Of a run of four epochs, stopped after some."""
    network, task = line(), linear_task()
    calls = 0

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        nonlocal calls
        calls += 1
        if calls > epochs:
            raise KeyboardInterrupt
        return task.batches(generator)

    with pytest.raises(KeyboardInterrupt):
        fit(network, replace(task, batches=batches), SCHEDULE, checkpoint, CPU)
    return network.get_parameter("weight").detach().clone()


def test_the_weights_of_the_best_epoch_are_kept(tmp_path: Path) -> None:
    network = line()
    progression = fit(network, linear_task([3.0, 1.0, 2.0, 1.5]), SCHEDULE, tmp_path / "c.pt", CPU)
    assert progression.validation == [3.0, 1.0, 2.0, 1.5]
    best = weights_after(2, tmp_path / "two.pt")
    torch.testing.assert_close(network.weight, best, rtol=0, atol=1e-6)


def test_training_stops_when_it_has_not_become_better_for_some_epochs(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, epochs=9, patience=2)
    network = line()
    progression = fit(network, linear_task([3.0, 1.0, 2.0, 1.5]), schedule, tmp_path / "c.pt", CPU)
    assert progression.epochs_done == 4
    again = line()
    progression = fit(again, linear_task([0.0]), schedule, tmp_path / "c.pt", CPU)
    assert progression.epochs_done == 4, "a run that has stopped is not taken up"
    torch.testing.assert_close(again.weight, network.weight)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("adamw", 0.05), ("muon", 0.3)])
def test_all_optimizers_learn(tmp_path: Path, optimizer: str, rate: float) -> None:
    rates = {"peak_learning_rate": rate, "muon_learning_rate": rate}
    schedule = replace(SCHEDULE, epochs=30, optimizer=optimizer, **rates)
    network = nn.Sequential(OrderedDict(blocks=line()))
    progression = fit(network, linear_task(), schedule, tmp_path / "c.pt", CPU)
    assert progression.mean_loss[-1] < 0.05 * progression.mean_loss[0]


def test_muon_takes_the_matrices_of_blocks_and_adamw_all_else() -> None:
    network = build("transformer", vocabulary_size=9, width=8, num_layers=2, num_heads=2, context=8)
    muon, adamw = make_optimizers(network, replace(SCHEDULE, optimizer="muon"))
    shapes = [
        [tuple(p.shape) for group in each.param_groups for p in group["params"]]
        for each in (muon, adamw)
    ]
    assert shapes[0] == [(24, 8), (8, 8), (32, 8), (8, 32)] * 2
    assert {(9, 8)} == {shape for shape in shapes[1] if len(shape) > 1}
    assert len(shapes[0] + shapes[1]) == len(list(network.parameters()))


def test_a_gradient_is_clipped_to_its_norm(tmp_path: Path) -> None:
    def loss(network: nn.Module, batch: TrainingBatch) -> Tensor:
        return 1e6 * network(batch[0]).sum()

    schedule = replace(
        SCHEDULE, epochs=1, peak_learning_rate=1.0, gradient_clip=0.01, weight_decay=0.0
    )
    network, before = line(), line()
    fit(network, replace(linear_task(), loss=loss), schedule, tmp_path / "c.pt", CPU)
    moved = torch.cat(
        [
            (a - b).detach().flatten()
            for a, b in zip(network.parameters(), before.parameters(), strict=True)
        ]
    )
    longest = 8 * 0.01 / (1 - 0.9) * 1.9  # every step of norm 0.01, and Nesterov's momentum
    assert 0 < moved.norm().item() < longest


def test_a_checkpoint_from_before_a_field_was_added_is_taken_up(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.pt"
    weights_after(2, checkpoint)
    state = torch.load(checkpoint, weights_only=True)
    for name in ("optimizer", "gradient_clip", "patience"):
        del state["schedule"][name]
    del state["best"], state["validation"]
    torch.save(state, checkpoint)
    progression = fit(line(), linear_task(), SCHEDULE, checkpoint, CPU)
    assert progression.epochs_done == 4
    assert asdict(SCHEDULE)["optimizer"] == "sgd"


@pytest.fixture(scope="module")
def made_up_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of few words and two series of waves."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    words = generator.choice(["to be", "or not", "that is", "the question"], 4000)
    (folder / SHAKESPEARE_FILE).write_text("\n".join(words))
    for source in (SUNSPOTS, TEMPERATURES):
        wave = 50 + 30 * np.sin(np.arange(3000) / 9) + generator.normal(0, 5, 3000)
        rows = [f'"{row}",{value:.1f}' for row, value in enumerate(wave)]
        (folder / source.file).write_text("\n".join([f'"Date","{source.column}"', *rows]))
    return folder


def test_the_parts_of_a_text_follow_each_other(made_up_data: Path) -> None:
    text = read_shakespeare(made_up_data)
    whole = (made_up_data / SHAKESPEARE_FILE).read_text()
    tokens = torch.cat([text.training, text.validation, text.test])
    assert "".join(text.vocabulary[token] for token in tokens) == whole
    assert len(text.test) == round(len(whole) / 10)
    assert list(text.vocabulary) == sorted(text.vocabulary)


@settings(deadline=None, max_examples=25)
@given(length=st.integers(10, 60), window=st.integers(1, 9))
def test_each_token_of_a_window_is_followed_by_its_target(length: int, window: int) -> None:
    inputs, targets = cut(torch.arange(length), window)
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs.flatten(), torch.arange(inputs.numel()))
    assert length - inputs.numel() <= window


def test_an_epoch_has_as_many_batches_as_it_says(made_up_data: Path) -> None:
    task = windows_task(read_shakespeare(made_up_data), window=32, batch_size=16)
    for seed in range(5):
        batches = list(task.batches(torch.Generator().manual_seed(seed)))
        assert len(batches) == task.steps_per_epoch
        assert {tuple(part.shape) for batch in batches for part in batch} == {(16, 32)}


@pytest.mark.parametrize("holds_out", [True, False])
def test_training_never_uses_the_test_part_and_uses_the_validation_part_only_without_validation(
    made_up_data: Path, holds_out: bool
) -> None:
    text = read_shakespeare(made_up_data)
    ends = [len(text.training), len(text.training) + len(text.validation)]
    training, validation, test = torch.arange(ends[1] + len(text.test)).tensor_split(ends)
    numbered = replace(text, training=training, validation=validation, test=test)
    task = windows_task(numbered, window=32, batch_size=1, holds_out=holds_out)
    generator = torch.Generator().manual_seed(0)
    last = max(int(targets.max()) for _, targets in task.batches(generator))
    assert (task.validate is not None) == holds_out
    assert (last >= ends[0]) != holds_out
    assert last < ends[1]


@settings(deadline=None)
@given(length=st.integers(2, 100), context=st.sampled_from([4, 8, 10]))
def test_windows_predict_every_token_once_from_half_a_context(length: int, context: int) -> None:
    inputs, targets, is_new = windows(np.arange(length), context)
    assert sorted(targets[is_new]) == list(range(1, length))
    assert np.array_equal(targets[is_new], inputs[is_new] + 1)
    depth = np.broadcast_to(np.arange(1, context + 1), targets.shape)[is_new]
    late = targets[is_new] > context
    assert (depth[late] > context // 2).all()


def test_the_error_for_a_missing_or_broken_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="char-rnn"):
        read_shakespeare(tmp_path)
    (tmp_path / SHAKESPEARE_FILE).write_text("To be, or not to be")
    with pytest.raises(DataError, match="only 19 characters"):
        read_shakespeare(tmp_path)
    with pytest.raises(DataError, match="jbrownlee"):
        read_series(tmp_path, SUNSPOTS)
    for content in ("a,b\n1,2\n", "Month,Sunspots\n1749-01,many\n", "Month,Sunspots\n1749-01\n"):
        (tmp_path / SUNSPOTS.file).write_text(content)
        with pytest.raises(DataError, match="a column Sunspots"):
            read_series(tmp_path, SUNSPOTS)
    (tmp_path / SUNSPOTS.file).write_text("Month,Sunspots\n1749-01,58.0\n")
    with pytest.raises(DataError, match="only 1 rows"):
        read_series(tmp_path, SUNSPOTS)


def test_the_real_files_have_the_content_that_the_recipes_expect(data_dir: Path) -> None:
    text = read_shakespeare(data_dir)
    assert len(text.vocabulary) == 65
    assert len(text.test) == 111_539
    assert len(read_series(data_dir, SUNSPOTS).values) == 2820
    assert len(read_series(data_dir, TEMPERATURES).values) == 3650


def test_skill_compares_with_the_last_value() -> None:
    values = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]], np.float32)
    errors = np.array([[[1.0], [0.0]], [[-1.0], [4.5]]])  # forecasts of places 2 and 3
    scores = forecast_scores(errors, values, start=2)
    assert scores["mae_1_persistence"] == pytest.approx((2 + 3) / 2)
    assert scores["mae_2_persistence"] == pytest.approx((5 + 7) / 2)
    assert scores["skill_1"] == pytest.approx(1 - 1.0 / 2.5)
    assert scores["skill_2"] == pytest.approx(1 - 2.25 / 6)


def test_coverage_counts_what_lies_between_two_quantiles() -> None:
    residuals = ResidualQuantiles(levels=(0.1, 0.5, 0.9), values=(((-1.0,), (0.0,), (2.0,)),) * 2)
    errors = np.array([[[-2.0], [-1.0]], [[2.0], [3.0]]])
    assert coverage(errors, residuals, 0.8) == 0.5


def short(recipe_module: ModuleType, name: str, data: Path, output: Path) -> Path:
    """Run a recipe for one epoch."""
    recipes = {recipe.name: recipe for recipe in recipe_module.RECIPES}
    return recipes[name].run(data, output / name, 1)


def test_a_text_recipe_leaves_weights_that_describe_themselves(
    made_up_data: Path, tmp_path: Path
) -> None:
    weights = short(shakespeare_models, "shakespeare-markov", made_up_data, tmp_path)
    description = read_description(read_checkpoint(weights))
    assert description is not None
    report = json.loads((weights.parent / "report.json").read_text())
    assert description.metrics == report["scores"]
    assert 0 < report["scores"]["bits_per_character"] < 3
    card = weights.with_suffix(".md").read_text()
    assert f"| bits_per_character | **{report['scores']['bits_per_character']:.4f}** |" in card


def test_a_series_recipe_leaves_weights_with_their_errors(
    made_up_data: Path, tmp_path: Path
) -> None:
    weights = short(series_models, "temperature-ar", made_up_data, tmp_path)
    description = read_description(read_checkpoint(weights))
    assert description is not None
    assert description.sequence is not None
    residuals = description.sequence.residuals
    assert residuals is not None
    quantiles = np.array(residuals.values)
    assert quantiles.shape == (series_models.HORIZON, len(residuals.levels), 1)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert description.metrics["skill_12"] > 0
    assert "AdamW" in weights.with_suffix(".md").read_text()


@pytest.mark.parametrize("model", shakespeare_models.MODELS, ids=lambda model: model.name)
def test_a_text_model_fits_the_size_limit(model: shakespeare_models.TextModel) -> None:
    network = build(model.architecture, vocabulary_size=65, **model.options)
    assert 2 * sum(tensor.numel() for tensor in network.state_dict().values()) < 2_450_000
