"""Golden and random rows of sequences: time steps, and the states after a history."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.artifact.parity import RANDOM_SEED
from export.artifact.spec import Rows
from export.errors import GoldenError
from export.models.sequence.sequence import Scaler, SequenceNetwork, State, StateTensor
from service.artifact.sections import SequenceSection

HISTORIES = (0, 5, 40, 90)
"""The length of each golden row's history, in time steps."""
RANDOM_ROWS = 4

# Sonnet 18, in the public domain.
GOLDEN_TEXT = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
"""


def golden_elements(
    files: tuple[Path, ...], section: SequenceSection, scaler: Scaler | None
) -> Tensor:
    """One sequence of real elements, ``[T]`` or ``[T, series]``.

    Args:
        files: a text, or a CSV file of numbers without a heading, one column per series. Without a
            file: a sonnet, or a wave of eleven steps with noise (no package ships a series).
        section: has the vocabulary.
        scaler: of values; has the wave's mean and amplitude.

    Raises:
        GoldenError: the file cannot be read, or has too few elements.
    """
    try:
        if scaler is None:
            text = files[0].read_text("utf-8") if files else GOLDEN_TEXT
            known = {character: index for index, character in enumerate(section.vocabulary)}
            elements = torch.tensor([known[each] for each in text if each in known])
        elif files:
            numbers = np.loadtxt(files[0], np.float32, delimiter=",", ndmin=2)
            elements = torch.from_numpy(numbers)
        else:
            elements = wave(scaler)
    except (OSError, ValueError) as err:
        raise GoldenError(f"the golden sequence {files[0]} cannot be read: {err}") from err
    if len(elements) < section.chunk + 2:
        raise GoldenError(
            f"the golden sequence has {len(elements)} elements of the vocabulary and needs"
            f" {section.chunk + 2}; give another one with --golden FILE"
        )
    return elements


def wave(scaler: Scaler, steps: int = 256) -> Tensor:
    """A sine wave of eleven steps with noise, ``[steps, series]``, in the scaler's units."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    noise = torch.randn(steps, len(scaler.loc), generator=generator)
    sine = torch.sin(torch.arange(steps)[:, None] * 2 * torch.pi / 11)
    return scaler.loc + scaler.scale * (sine + 0.3 * noise)


@torch.inference_mode()
def golden_rows(
    network: SequenceNetwork, section: SequenceSection, elements: Tensor, time: int, past: int = 0
) -> Rows:
    """Rows of ``time`` elements each, with the state after the elements before them.

    The KV cache has ``past`` steps.
    """
    longest = len(elements) - section.chunk
    if past:
        longest = min(longest, past - time)
    histories = [min(history, longest) for history in HISTORIES]
    rows = [elements[history : history + time] for history in histories]
    states = [state_after(network, elements[:history]) for history in histories]
    joined = [
        torch.cat(parts if tensor.grows_along is None else shortened(parts, tensor, past))
        for tensor, parts in zip(network.state_tensors, zip(*states, strict=True), strict=True)
    ]
    return as_rows(network, section, torch.stack(rows), joined)


def shortened(parts: tuple[Tensor, ...], tensor: StateTensor, past: int) -> list[Tensor]:
    """The first ``past`` steps of a KV cache."""
    assert tensor.grows_along is not None
    return [part.narrow(1 + tensor.grows_along, 0, past) for part in parts]


def state_after(network: SequenceNetwork, history: Tensor) -> State:
    """The state of one sequence, ``[1, ...]`` each."""
    if not len(history):
        return network.initial_state(1)
    return network.prefill(history[None])[1]


def random_rows(
    network: SequenceNetwork, section: SequenceSection, time: int, past: int = 0
) -> Rows:
    """Random elements and states for parity, always the same."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)

    def draw(tensor: StateTensor) -> Tensor:
        sizes = list(tensor.shape)
        if tensor.grows_along is not None:
            sizes[tensor.grows_along] = past
        shape = (RANDOM_ROWS, *sizes)
        if not tensor.dtype.is_floating_point:
            last = past - time
            return torch.randint(last + 1, shape, generator=generator, dtype=tensor.dtype)
        return torch.randn(shape, generator=generator) / 2

    if (scaler := network.scaler) is None:
        shape = (RANDOM_ROWS, time)
        elements = torch.randint(len(section.vocabulary), shape, generator=generator)
    else:
        shape = (RANDOM_ROWS, time, section.series)
        elements = scaler.loc + scaler.scale * torch.randn(shape, generator=generator)
    return as_rows(network, section, elements, [draw(each) for each in network.state_tensors])


def as_rows(
    network: SequenceNetwork, section: SequenceSection, elements: Tensor, state: list[Tensor]
) -> Rows:
    """Arrays by the names of the graph's inputs."""
    names = [section.kind, *(tensor.name for tensor in network.state_tensors)]
    arrays = zip(names, (elements, *state), strict=True)
    return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in arrays}
