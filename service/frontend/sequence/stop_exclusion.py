"""Which steps of a continuation are answered when what stopped it is left out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.sections import SequenceSection
from service.frontend.sequence.options import ContinuationOptions
from service.ipc.sequence_slot import FinishReason, SequenceSlot


class AnsweredSteps(NamedTuple):
    """The first steps of a continuation."""

    number: int
    last_text: str | None = None
    """The text of the last one, if a part of it is left out."""


def answered_steps(
    slot: SequenceSlot,
    count: int,
    section: SequenceSection,
    options: ContinuationOptions,
    *,
    is_ended: bool = True,
) -> AnsweredSteps:
    """The steps to answer of the first ``count``.

    Args:
        slot: with the steps.
        count: how many are complete.
        section: of the model's manifest.
        options: of the request.
        is_ended: whether ``count`` are all; the worker may have ended a continuation, and its last
            steps are not known here yet.
    """
    if not (options.excludes_stop and count):
        return AnsweredSteps(count)
    stop, tokens = options.plan.stop, slot.steps(0, count)[:, 0]
    finish_reason = slot.finish_reason if is_ended else FinishReason.OPEN
    if finish_reason is FinishReason.STOP and tokens[-1] == section.end_token:
        return AnsweredSteps(count - 1)
    if not stop or finish_reason not in (FinishReason.OPEN, FinishReason.STOP):
        return AnsweredSteps(count)
    texts = _last_texts(tokens, section.vocabulary, max(map(len, stop)))
    text = "".join(texts)
    if finish_reason is FinishReason.OPEN:
        return AnsweredSteps(_whole_steps(texts, count, len(text) - _unclear(text, stop)))
    end = _stop_start(text, len(texts[-1]), stop)
    whole = _whole_steps(texts, count, end)
    covered = sum(map(len, texts[: len(texts) - (count - whole)]))
    if covered == end:
        return AnsweredSteps(whole)
    return AnsweredSteps(whole + 1, text[covered:end])


def _last_texts(tokens: NDArray[np.int32], vocabulary: Sequence[str], characters: int) -> list[str]:
    """The texts of the last tokens: ``characters`` or more in front of the last token's text."""
    texts = [vocabulary[int(tokens[-1])]]
    missing = characters
    for token in tokens[-2::-1]:
        if missing <= 0:
            break
        texts.append(vocabulary[int(token)])
        missing -= len(texts[-1])
    return texts[::-1]


def _unclear(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end may be the beginning of a stop string."""
    lengths = range(min(len(text), max(map(len, stop))), 0, -1)
    return next((length for length in lengths if _begins(text[-length:], stop)), 0)


def _begins(end: str, stop: Sequence[str]) -> bool:
    return any(each.startswith(end) for each in stop)


def _stop_start(text: str, added: int, stop: Sequence[str]) -> int:
    """Where the first stop string begins that ends within the last ``added`` characters."""
    found = [text.find(each, max(0, len(text) - added - len(each) + 1)) for each in stop]
    return min((place for place in found if place >= 0), default=len(text))


def _whole_steps(texts: Sequence[str], count: int, characters: int) -> int:
    """How many of ``count`` steps end within the first ``characters`` of the last ``texts``."""
    ends = 0
    for place, text in enumerate(texts):
        ends += len(text)
        if ends > characters:
            return count - len(texts) + place
    return count
