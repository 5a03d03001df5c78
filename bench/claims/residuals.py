"""The claim on identity skips: deeper networks, with and without them, on CIFAR-10."""

import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.claims.claim import Claim, Curve, draw_curves
from export.models.resnet import BasicBlock, ResNet
from export.train.classification.cifar10_training import training_task
from export.train.data.cifar10 import LabelledImages, read_cifar10
from export.train.loop import fit, pick_device
from export.train.schedule import Schedule

DEPTHS = {18: (2, 2, 2, 2), 50: (6, 6, 6, 6)}
"""Layers -> blocks of two 3x3 convolutions in each stage."""
WIDTH = 8
IMAGES = 5_000
SCHEDULE = Schedule(epochs=4, batch_size=64, peak_learning_rate=0.1)


class PlainBlock(BasicBlock):
    """The same two convolutions without the shortcut (section 4.1 of the ResNet paper)."""

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__(in_channels, width, stride)
        del self.downsample

    def forward(self, x: Tensor) -> Tensor:
        """The output of the residual block without its shortcut."""
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


KINDS: dict[str, type[BasicBlock]] = {"plain": PlainBlock, "residual": BasicBlock}


def train_losses(network: nn.Module, images: LabelledImages) -> list[float]:
    """The mean training loss of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        task = training_task(images, SCHEDULE.batch_size)
        checkpoint = Path(folder) / "checkpoint.pt"
        return fit(network, task, SCHEDULE, checkpoint, pick_device()).mean_loss


def skips_train_deeper(data_dir: Path, pictures: Path) -> Claim:
    """Plain against residual at two depths, the same short run each."""
    split = read_cifar10(data_dir, "train")
    images = LabelledImages(split.images[:IMAGES], split.targets[:IMAGES])
    losses: dict[tuple[str, int], list[float]] = {}
    for kind, block in KINDS.items():
        for depth, layers in DEPTHS.items():
            torch.manual_seed(0)
            build = partial(ResNet, block, layers, WIDTH, num_classes=10, small_images=True)
            losses[kind, depth] = train_losses(build(), images)
    shallow, deep = DEPTHS
    last = {key: its[-1] for key, its in losses.items()}
    cost = {kind: last[kind, deep] - last[kind, shallow] for kind in KINDS}
    picture = draw_curves(
        pictures / "residuals.png",
        [
            Curve(f"{kind}, {depth} layers", range(1, len(its) + 1), its)
            for (kind, depth), its in losses.items()
        ],
        title=f"Training loss on {IMAGES:,} photographs of CIFAR-10",
        x_label="epoch",
        y_label="mean loss",
    )
    return Claim(
        "residuals",
        "Identity skips let deeper networks learn",
        f"From {shallow} to {deep} layers the training loss after {SCHEDULE.epochs} epochs rises by"
        f" {cost['plain']:.3f} in a plain network and by {cost['residual']:.3f} in a residual one"
        f" (width {WIDTH}, {IMAGES:,} photographs, seed 0): the optimisation suffers, not"
        " the generalisation.",
        cost["plain"] > max(cost["residual"], 0),
        ("network", *(f"epoch {epoch}" for epoch in range(1, SCHEDULE.epochs + 1))),
        [
            (f"{kind}, {depth} layers", *(f"{loss:.3f}" for loss in its))
            for (kind, depth), its in losses.items()
        ],
        picture,
    )
