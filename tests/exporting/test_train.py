from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from export.errors import WeightsError
from export.train.classification.cifar10_training import training_task
from export.train.data.augment import crop_and_flip, pad_by_reflection
from export.train.data.cifar10 import LabelledImages
from export.train.loop import Progression, fit
from export.train.schedule import Schedule, parameter_groups

CPU = torch.device("cpu")
SCHEDULE = Schedule(epochs=3, batch_size=16, peak_learning_rate=0.2)


@pytest.fixture
def split() -> LabelledImages:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (48, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return LabelledImages(images, torch.arange(48) % 10)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 10)
    )


def train_small(
    split: LabelledImages, checkpoint: Path, epochs_now: int
) -> tuple[nn.Module, Progression]:
    """Train for three epochs, but stop as if interrupted after ``epochs_now``."""
    task, network = training_task(split, SCHEDULE.batch_size), small_network()
    calls = 0

    def batches(generator: torch.Generator):
        nonlocal calls
        calls += 1
        if calls > epochs_now:
            raise KeyboardInterrupt
        return task.batches(generator)

    return network, fit(network, replace(task, batches=batches), SCHEDULE, checkpoint, CPU)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    split: LabelledImages, tmp_path: Path
) -> None:
    expected, _ = train_small(split, tmp_path / "whole.pt", epochs_now=3)
    with pytest.raises(KeyboardInterrupt):
        train_small(split, tmp_path / "parts.pt", epochs_now=2)
    resumed, progression = train_small(split, tmp_path / "parts.pt", epochs_now=1)
    assert progression.epochs_done == 3
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], tensor, rtol=0, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.pt", "whole.pt"]


def test_a_checkpoint_of_another_schedule_is_refused(split: LabelledImages, tmp_path: Path) -> None:
    train_small(split, tmp_path / "checkpoint.pt", epochs_now=3)
    task, longer = training_task(split, 16), replace(SCHEDULE, epochs=4)
    with pytest.raises(WeightsError, match="another schedule"):
        fit(small_network(), task, longer, tmp_path / "checkpoint.pt", CPU)


def test_training_lowers_the_loss(split: LabelledImages, tmp_path: Path) -> None:
    _, progression = train_small(split, tmp_path / "checkpoint.pt", epochs_now=3)
    assert progression.mean_loss[-1] < progression.mean_loss[0]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("warm_up_share", [0.0, 0.25, 0.5])
def test_a_run_of_very_few_steps_learns(
    split: LabelledImages, tmp_path: Path, epochs: int, warm_up_share: float
) -> None:
    schedule = replace(SCHEDULE, epochs=epochs, batch_size=48, warm_up_share=warm_up_share)
    network = small_network()
    before = {key: weight.clone() for key, weight in network.named_parameters()}
    task = training_task(split, schedule.batch_size)
    assert task.steps_per_epoch == 1
    assert fit(network, task, schedule, tmp_path / "checkpoint.pt", CPU).epochs_done == epochs
    assert all(weight.isfinite().all() for weight in network.parameters())
    assert any((weight != before[key]).any() for key, weight in network.named_parameters())


def test_only_weights_decay() -> None:
    decaying, others = parameter_groups(list(small_network().parameters()), 0.1)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    for group, count in ((decaying, 2), (others, 4)):
        assert isinstance(group["params"], list)
        assert len(group["params"]) == count


def test_a_crop_is_a_window_of_the_padded_image_or_its_mirror_image(split: LabelledImages) -> None:
    padded = pad_by_reflection(split.images, 4)
    assert torch.equal(padded[:, :, 4:-4, 4:-4], split.images)
    crops = crop_and_flip(padded, torch.arange(48), 32, torch.Generator().manual_seed(0))
    windows = padded.unfold(2, 32, 1).unfold(3, 32, 1)
    mirrored = 0
    for crop, choices in zip(crops, windows, strict=True):
        is_plain = (choices == crop[:, None, None]).flatten(3).all(3).all(0).any()
        is_mirrored = (choices == crop.flip(-1)[:, None, None]).flatten(3).all(3).all(0).any()
        assert is_plain or is_mirrored
        mirrored += bool(is_mirrored)
    assert 12 < mirrored < 36
