"""The schedule of a training, and its optimizers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import SGD, AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

ParamGroup = dict[str, Any]


@dataclass(frozen=True)
class Schedule:
    """Epochs, batch size, learning rates and optimizer of a training."""

    epochs: int
    batch_size: int
    peak_learning_rate: float
    """Reached after ``warm_up_share`` of all steps; from there it falls to zero along a cosine."""
    warm_up_share: float = 0.25
    momentum: float = 0.9
    """The momentum of SGD."""
    weight_decay: float = 5e-4
    """Decay of weights; biases and batch normalisation do not decay."""
    bfloat16: bool = True
    """Autocast matrix products to bfloat16; parameters and their sums stay float32."""
    seed: int = 0
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    """SGD with Nesterov momentum; AdamW (Loshchilov and Hutter, arXiv 1711.05101); or, for networks
    with ``blocks``, Muon (Jordan et al. 2024) for the matrices in them and AdamW for the rest."""
    muon_learning_rate: float = 0.02
    """Muon's peak learning rate."""
    gradient_clip: float | None = None
    """The largest norm of a step's gradient; None: no limit."""
    patience: int | None = None
    """Stop after this number of epochs without a better validation loss; None: train all epochs."""


def make_optimizers(network: nn.Module, schedule: Schedule) -> list[Optimizer]:
    """The optimizers of the schedule; each parameter has one of them."""
    rate, decay = schedule.peak_learning_rate, schedule.weight_decay
    parameters = [p for p in network.parameters() if p.requires_grad]
    if schedule.optimizer == "sgd":
        groups = parameter_groups(parameters, decay)
        return [SGD(groups, lr=rate, momentum=schedule.momentum, nesterov=True)]
    if schedule.optimizer == "adamw":
        return [AdamW(parameter_groups(parameters, decay), lr=rate)]
    blocks = network.get_submodule("blocks")
    matrices = [p for p in blocks.parameters() if p.ndim == 2 and p.requires_grad]
    of_blocks = {id(p) for p in matrices}
    others = parameter_groups([p for p in parameters if id(p) not in of_blocks], decay)
    return [
        Muon(matrices, lr=schedule.muon_learning_rate, weight_decay=decay),
        AdamW(others, lr=rate),
    ]


def parameter_groups(parameters: Sequence[nn.Parameter], weight_decay: float) -> list[ParamGroup]:
    """Weights of two axes or more decay; biases and normalisation, which have one, do not."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def one_cycle(optimizer: Optimizer, schedule: Schedule, steps: int) -> OneCycleLR:
    """The learning rates of a run: up to the optimizer's own, then down to zero."""
    # If the first step of a short run is the peak, OneCycleLR divides by zero.
    has_warm_up = schedule.warm_up_share * steps > 1
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=schedule.warm_up_share if has_warm_up else 0.0,
        cycle_momentum=False,
    )
