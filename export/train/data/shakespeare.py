"""Tiny Shakespeare (Karpathy 2015): 1.1 million characters of plays, and their training.

The last tenth is for testing. The last twentieth of the rest is for early stopping.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.errors import DataError
from export.train.loop import TrainingBatch, TrainingTask

SHAKESPEARE_FILE = "tinyshakespeare.txt"
WHERE = (
    "--data must name a folder with tinyshakespeare.txt, the file input.txt of"
    " github.com/karpathy/char-rnn, data/tinyshakespeare"
)
TEST_SHARE = 0.1
VALIDATION_SHARE = 0.05
VALIDATION_WINDOW = 256


@dataclass(frozen=True)
class Text:
    """A text as tokens, one per character."""

    vocabulary: tuple[str, ...]
    """The characters that occur, in the order of their code points."""
    training: Tensor
    validation: Tensor
    test: Tensor


def read_shakespeare(data_dir: Path) -> Text:
    """Read and split the text.

    Raises:
        DataError: the file is missing, is not UTF-8 text, or is too short.
    """
    path = data_dir / SHAKESPEARE_FILE
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"cannot read {path} ({err}); {WHERE}") from err
    if len(text) < 20_000:
        raise DataError(f"{path} has only {len(text)} characters; {WHERE}")
    vocabulary = tuple(sorted(set(text)))
    tokens = tokenize(text, vocabulary)
    for_test = round(len(tokens) * TEST_SHARE)
    for_validation = round((len(tokens) - for_test) * VALIDATION_SHARE)
    training = len(tokens) - for_test - for_validation
    return Text(vocabulary, *tokens.split([training, for_validation, for_test]))


def tokenize(text: str, vocabulary: tuple[str, ...]) -> Tensor:
    """The tokens ``[T]`` int64 of a text.

    Raises:
        DataError: a character is not in the vocabulary.
    """
    index_of = {character: index for index, character in enumerate(vocabulary)}
    if unknown := set(text) - set(index_of):
        raise DataError(f"the vocabulary lacks {sorted(unknown)}")
    return torch.tensor([index_of[character] for character in text])


def windows_task(
    text: Text, window: int, batch_size: int, *, holds_out: bool = True
) -> TrainingTask:
    """Predict each next character of windows of the training part, cut anew every epoch.

    Args:
        text: the text.
        window: characters of an example.
        batch_size: examples of a step.
        holds_out: whether the validation part is for early stopping; else training uses it, too.
    """
    training = text.training if holds_out else torch.cat([text.training, text.validation])
    steps = (len(training) - window) // window // batch_size

    def batches(generator: torch.Generator) -> Iterator[TrainingBatch]:
        shift = int(torch.randint(window, (), generator=generator))
        inputs, targets = cut(training[shift:], window)
        order = torch.randperm(len(inputs), generator=generator)
        for indices in order.split(batch_size)[:steps]:
            yield inputs[indices], targets[indices]

    inputs, targets = cut(text.validation, VALIDATION_WINDOW)

    def validate(network: nn.Module) -> float:
        device = next(network.parameters()).device
        parts = zip(inputs.split(64), targets.split(64), strict=True)
        losses = [next_loss(network, (x.to(device), y.to(device))) * len(x) for x, y in parts]
        return float(sum(losses)) / len(inputs)

    return TrainingTask(steps, batches, next_loss, validate if holds_out else None)


def cut(tokens: Tensor, window: int) -> TrainingBatch:
    """Consecutive windows ``[N, window]``, and the next token of each of their tokens."""
    count = (len(tokens) - 1) // window
    inputs = tokens[: count * window].view(count, window)
    targets = tokens[1 : count * window + 1].view(count, window)
    return inputs, targets


def next_loss(network: nn.Module, batch: TrainingBatch) -> Tensor:
    """The mean cross-entropy of each next token, in nats."""
    inputs, targets = batch
    logits = network(inputs)
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
