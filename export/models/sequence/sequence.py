"""Shared by the sequence networks: one step function, a state, and a codec.

A network reads a sequence from left to right. At step t it has seen the elements 1..t and predicts
element t + 1. Its state is all that it remembers of the past. ``step`` takes a state, returns a
state, and takes any number of time steps, so a sequence may be cut anywhere.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""Tensors ``[N, ...]``; empty for a network without memory."""


@dataclass(frozen=True)
class StateTensor:
    """One tensor of a state; it is zero at the beginning of a sequence."""

    name: str
    shape: tuple[int, ...]
    """The shape for one sequence, without the batch axis."""
    dtype: torch.dtype = torch.float32
    grows_along: int | None = None
    """For a KV cache, the axis of ``shape`` with one entry per time step; None: it is replaced."""


class SequenceNetwork(nn.Module):
    """A network that predicts the next element from those before.

    Elements are tokens ``[N, T]`` int64, answered with logits ``[N, T, vocabulary_size]``, or
    values ``[N, T, series]`` float32, answered with predictions of that shape.
    """

    state_tensors: tuple[StateTensor, ...] = ()

    @property
    def scaler(self) -> "Scaler | None":
        """The scaler of values; None in a network for tokens."""
        return next((part for part in self.modules() if isinstance(part, Scaler)), None)

    def initial_state(self, batch: int) -> State:
        """The state of ``batch`` sequences at their beginning."""
        device = next((tensor.device for tensor in self.state_dict().values()), None)
        return tuple(
            torch.zeros(batch, *tensor.shape, dtype=tensor.dtype, device=device)
            for tensor in self.state_tensors
        )

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run T >= 1 elements; returns the prediction after each one, and the last state."""
        raise NotImplementedError

    def graph_step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """``step`` as it is exported: of a KV cache it returns only the new entries."""
        return self.step(inputs, state)

    def prefill(
        self, history: Tensor, state: State | None = None, chunk: int = 32
    ) -> tuple[Tensor, State]:
        """Chunked prefill: read a history in runs of at most ``chunk`` steps.

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
        vocabulary_size: the number of tokens.
        width: length of a token's vector.
        features: length of the network's summary of the past.
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
        """``[N, T, features] -> [N, T, vocabulary_size]``; the tokens are not used."""
        return self.fc(features)


class Scaler(nn.Module):
    """``(value - loc) / scale``, inside the network, so that values keep their own units."""

    loc: Tensor
    scale: Tensor

    def __init__(self, series: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(series))
        self.register_buffer("scale", torch.ones(series))

    def fit(self, values: Tensor) -> None:
        """Take mean and standard deviation of values ``[T, series]``, in half precision.

        The scaler is then the same before and after the weights are saved.
        """
        self.loc.copy_(values.mean(0).half())
        self.scale.copy_(values.std(0).half())

    def forward(self, values: Tensor) -> Tensor:
        """``[..., series]``, scaled."""
        return (values - self.loc) / self.scale


class Values(nn.Module):
    """Values -> scaled values, and features -> predictions, as a difference to the last value.

    Args:
        series: the number of values per time step.
        features: length of the network's summary of the past.
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
        ValueError: neither or both are given.
    """
    if (vocabulary_size > 0) == (series > 0):
        raise ValueError("give either vocabulary_size (for tokens) or series (for values)")
    if vocabulary_size:
        return Tokens(vocabulary_size, width, features)
    return Values(series, features)
