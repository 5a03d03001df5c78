"""The networks that are measured; their weights are random, since only speed matters here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from service.artifact.manifest import Task

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class BenchNetwork:
    """One network, and how long it is measured."""

    build: Callable[[], "nn.Module"] | None
    """None: a model that ships."""
    height: int
    width: int
    channels: Literal[1, 3]
    num_classes: int
    max_batch_size: int = 64
    patience: float = 1.0
    """Multiple of the usual seconds of a measurement: slow networks need more time."""
    task: Task = Task.CLASSIFICATION
    shipped: str = ""
    """The model that ships, with its trained weights: with random ones, every candidate box would
    have about the same score, and the cost of suppression would not be a real one."""


def tinycnn() -> "nn.Module":
    """Two small convolutions, two linear layers, 49 k parameters; ``[N, 1, 28, 28] -> [N, 10]``."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(784, 60),
        nn.ReLU(),
        nn.Linear(60, 10),
    )


def thin224() -> "nn.Module":
    """One small convolution: payload and decoding dominate; ``[N, 3, 224, 224] -> [N, 10]``."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def lstm() -> "nn.Module":
    """One step of an LSTM, 128 wide, from a zero state; ``[N, 1, 1, 128] -> [N, 128]``.

    The classification endpoint takes images, so the 128 features travel as the bytes of an image of
    one row, which the graph scales to 0..1. The hidden state is read as logits of 128 classes.
    """
    from torch import nn, zeros

    class OneStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(128, 128)

        def forward(self, x: "Tensor") -> "Tensor":
            features = x.flatten(1)  # [N, 128]
            state = zeros(features.shape[0], 128)
            hidden, _ = self.cell(features, (state, state))
            return hidden

    return OneStep()


def resnet50() -> "nn.Module":
    """Full size; ``[N, 3, 224, 224] -> [N, 1000]``."""
    from export.models.resnet import resnet50

    return resnet50()


NETWORKS = {
    "tinycnn": BenchNetwork(tinycnn, 28, 28, 1, 10),
    "lstm": BenchNetwork(lstm, 1, 128, 1, 128),
    "thin224": BenchNetwork(thin224, 224, 224, 3, 10),
    "resnet50": BenchNetwork(resnet50, 224, 224, 3, 1000, max_batch_size=32, patience=4),
    "fcn8s": BenchNetwork(
        None, 480, 640, 3, 11, 8, patience=2, task=Task.SEGMENTATION, shipped="camvid-fcn8s"
    ),
    "yolo": BenchNetwork(None, 240, 320, 3, 3, task=Task.DETECTION, shipped="bccd-yolo"),
}
