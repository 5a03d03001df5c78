"""The training loop that all recipes share: one cycle of SGD, checkpointed after every epoch."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train."""

    epochs: int
    batch_size: int
    peak_learning_rate: float
    """Reached after ``warm_up_share`` of all steps; from there it falls to zero along a cosine."""
    warm_up_share: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """Of weights; biases and batch normalisation are left alone."""
    bfloat16: bool = True
    """Autocast matrix products to bfloat16; parameters and their sums stay float32."""
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """What to learn from: the batches of an epoch, and the loss of a batch."""

    steps_per_epoch: int
    batches: Callable[[torch.Generator], Iterator[Batch]]
    """The batches of one epoch, on the CPU, drawn with the generator alone."""
    loss: Callable[[nn.Module, Batch], Tensor]


@dataclass
class Progression:
    """What training has come to; grows by one entry an epoch."""

    mean_loss: list[float] = field(default_factory=list)
    epoch_s: list[float] = field(default_factory=list)

    @property
    def epochs_done(self) -> int:
        """Epochs that are in the checkpoint."""
        return len(self.mean_loss)


def pick_device() -> torch.device:
    """The first CUDA device, or else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    network: nn.Module, task: Task, schedule: Schedule, checkpoint: Path, device: torch.device
) -> Progression:
    """Train in place, continuing from ``checkpoint`` where it exists.

    An epoch's batches depend on the seed and the epoch's number only, so a run that was interrupted
    between epochs ends where an uninterrupted one does.

    Args:
        network: on any device; it comes back on ``device``, in evaluation mode.
        task: what to learn from.
        schedule: how long and how hard.
        checkpoint: rewritten after every epoch.
        device: where to train.
    """
    network.to(device)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(
        parameter_groups(network, schedule.weight_decay),
        lr=schedule.peak_learning_rate,
        momentum=schedule.momentum,
        nesterov=True,
    )
    scheduler = OneCycleLR(
        optimizer,
        max_lr=schedule.peak_learning_rate,
        total_steps=schedule.epochs * task.steps_per_epoch,
        pct_start=schedule.warm_up_share,
        cycle_momentum=False,
    )
    progression = resume(checkpoint, network, optimizer, scheduler, device)
    with progress_bar() as bar:
        for epoch in range(progression.epochs_done, schedule.epochs):
            steps = bar.add_task(f"epoch {epoch + 1}/{schedule.epochs}", total=task.steps_per_epoch)
            started = time.perf_counter()
            mean_loss = run_epoch(network, task, schedule, epoch, optimizer, scheduler, bar, steps)
            progression.mean_loss.append(mean_loss)
            progression.epoch_s.append(time.perf_counter() - started)
            save_checkpoint(checkpoint, network, optimizer, scheduler, progression)
            bar.remove_task(steps)
            bar.console.print(
                f"epoch {epoch + 1}/{schedule.epochs}  loss {mean_loss:.4f}"
                f"  {progression.epoch_s[-1]:.1f} s",
                highlight=False,
            )
    network.eval()
    return progression


def run_epoch(
    network: nn.Module,
    task: Task,
    schedule: Schedule,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    scheduler: OneCycleLR,
    bar: Progress,
    steps: TaskID,
) -> float:
    """One pass over the data; returns the mean loss."""
    network.train()
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + epoch)
    total = torch.zeros((), device=device)
    for batch in task.batches(generator):
        on_device = tuple(part.to(device, non_blocking=True) for part in batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=schedule.bfloat16):
            loss = task.loss(network, on_device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.detach()
        bar.advance(steps)
    return float(total) / task.steps_per_epoch


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights of two axes or more decay; biases and normalisation, which have one, do not."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def resume(
    checkpoint: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: OneCycleLR,
    device: torch.device,
) -> Progression:
    """Take up a checkpoint where there is one."""
    if not checkpoint.exists():
        return Progression()
    state = torch.load(checkpoint, map_location=device, weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    return Progression(mean_loss=state["mean_loss"], epoch_s=state["epoch_s"])


def save_checkpoint(
    checkpoint: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: OneCycleLR,
    progression: Progression,
) -> None:
    """Replace the checkpoint in one step, so that an interruption leaves the old one or the new."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "mean_loss": progression.mean_loss,
        "epoch_s": progression.epoch_s,
    }
    torch.save(state, partial)
    os.replace(partial, checkpoint)  # noqa: PTH105


def progress_bar() -> Progress:
    """Epoch, bar, step of steps, time left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )
