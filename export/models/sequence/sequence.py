"""What the sequence networks have in common: one step function, a state, and a codec.

A network reads a sequence from left to right. At step t it has seen the elements 1..t and predicts
element t + 1. All that it remembers of the past is its state, which is handed in and out, so a
sequence may be cut anywhere: ``step`` takes any number of time steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""Tensors ``[N, ...]``; of a network that needs no memory, none."""


@dataclass(frozen=True)
class StateTensor:
    """One tensor of a state; at the beginning of a sequence it is all zeros."""

    name: str
    shape: tuple[int, ...]
    """Of one sequence, without the batch axis."""
    dtype: torch.dtype = torch.float32
    grows_along: int | None = None
    """The axis of ``shape`` that each time step adds an entry to; None: the tensor is replaced."""


class SequenceNetwork(nn.Module):
    """A network that predicts the next element from those before.

    Elements are tokens ``[N, T]`` int64, answered with logits ``[N, T, vocabulary_size]``, or
    values ``[N, T, series]`` float32, answered with predictions of that shape.
    """

    state_tensors: tuple[StateTensor, ...] = ()

    @property
    def scaler(self) -> "Scaler | None":
        """What scales values; None of a network for tokens."""
        return next((part for part in self.modules() if isinstance(part, Scaler)), None)

    def initial_state(self, batch: int) -> State:
        """The state of ``batch`` sequences of which nothing has been seen."""
        device = next((tensor.device for tensor in self.state_dict().values()), None)
        return tuple(
            torch.zeros(batch, *tensor.shape, dtype=tensor.dtype, device=device)
            for tensor in self.state_tensors
        )

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T >= 1 elements: the prediction after each of them, and the state after the last."""
        raise NotImplementedError

    def graph_step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """``step`` as it is exported: for a state that only grows, what is new of it."""
        return self.step(inputs, state)

    def prefill(
        self, history: Tensor, state: State | None = None, chunk: int = 32
    ) -> tuple[Tensor, State]:
        """Read a history in runs of at most ``chunk`` steps.

        Returns:
            The prediction after the last element, ``[N, vocabulary_size]`` or ``[N, series]``, and
            the state.
        """
        state = self.initial_state(len(history)) if state is None else state
        predictions = history
        for part in history.split(chunk, dim=1):
            predictions, state = self.step(part, state)
        return predictions[:, -1], state

    def forward(self, inputs: Tensor) -> Tensor:
        """The predictions over whole sequences from their beginning, for training."""
        return self.step(inputs, self.initial_state(len(inputs)))[0]


class Tokens(nn.Module):
    """Tokens -> vectors, and features -> logits.

    Args:
        vocabulary_size: how many tokens there are.
        width: length of a token's vector.
        features: length of what the network makes of the past.
    """

    def __init__(self, vocabulary_size: int, width: int, features: int) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.fc = nn.Linear(features, vocabulary_size)

    def encode(self, tokens: Tensor) -> Tensor:
        """``[N, T] -> [N, T, width]``."""
        return self.embedding(tokens)

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        """``[N, T, features] -> [N, T, vocabulary_size]``, whatever the tokens."""
        return self.fc(features)


class Scaler(nn.Module):
    """``(value - loc) / scale``: part of the network, so values come and go in their own units."""

    loc: Tensor
    scale: Tensor

    def __init__(self, series: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(series))
        self.register_buffer("scale", torch.ones(series))

    def fit(self, values: Tensor) -> None:
        """Take mean and standard deviation of values ``[T, series]``, in half precision.

        So the scaler is the same before and after the weights are saved.
        """
        self.loc.copy_(values.mean(0).half())
        self.scale.copy_(values.std(0).half())

    def forward(self, values: Tensor) -> Tensor:
        """``[..., series]``, scaled."""
        return (values - self.loc) / self.scale


class Values(nn.Module):
    """Values -> scaled values, and features -> predictions: what is added to the last value.

    Args:
        series: how many values are observed at each time step.
        features: length of what the network makes of the past.
    """

    def __init__(self, series: int, features: int) -> None:
        super().__init__()
        self.width = series
        self.scaler = Scaler(series)
        self.fc = nn.Linear(features, series)

    def encode(self, values: Tensor) -> Tensor:
        """``[N, T, series]``, scaled."""
        return self.scaler(values)

    def decode(self, features: Tensor, values: Tensor) -> Tensor:
        """``[N, T, features] -> [N, T, series]``, in the units of ``values``."""
        return values + self.scaler.scale * self.fc(features)


def make_codec(vocabulary_size: int, series: int, width: int, features: int) -> Tokens | Values:
    """The codec of a network for tokens or, if ``vocabulary_size`` is 0, for values.

    Raises:
        ValueError: neither or both are asked for.
    """
    if (vocabulary_size > 0) == (series > 0):
        raise ValueError("give either vocabulary_size (for tokens) or series (for values)")
    if vocabulary_size:
        return Tokens(vocabulary_size, width, features)
    return Values(series, features)
