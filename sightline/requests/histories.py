"""A user's history -> a ``History`` message."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.errors import MessageTooLarge
from sightline.requests.images import SupportsArrayInterface
from sightline.v1.sequence_pb2 import History, Tokens, Values

HistoryLike: TypeAlias = (
    str
    | int
    | float
    | Sequence[int]
    | Sequence[float]
    | Sequence[Sequence[float]]
    | SupportsArrayInterface
)
"""Text; whole numbers, which are tokens; or numbers with a point, which are values: one, a sequence
``[T]``, or ``[T, series]`` for several series. Arrays go by their type."""


def history_from(history: HistoryLike, *, max_bytes: int) -> History:
    """The message for one history.

    Raises:
        TypeError: it is nothing that could be one.
        ValueError: it is empty, or of another shape; the text says what to do.
        MessageTooLarge: it is larger than ``max_bytes``.
    """
    message = _text(history) if isinstance(history, str) else _numbers(np.asarray(history))
    if message.ByteSize() > max_bytes:
        raise MessageTooLarge(
            f"the history has {message.ByteSize():,} bytes, and {max_bytes:,} fit into one message:"
            " send its end, or raise Client(max_message_bytes=...) and the server's"
            " SIGHTLINE_SERVER__MAX_MESSAGE_BYTES"
        )
    return message


def _text(text: str) -> History:
    if not text:
        raise ValueError("the history is empty: pass at least one character")
    return History(text=text)


def _numbers(array: NDArray[Any]) -> History:
    if array.dtype.kind not in "iuf":
        raise TypeError(
            "a history is text, whole numbers (tokens) or numbers with a point (values),"
            f" not {array.dtype}"
        )
    if not array.size:
        raise ValueError("the history is empty: pass at least one step")
    if array.ndim > 2:
        raise ValueError(f"a history is [T] or [T, series], not {list(array.shape)}")
    if array.dtype.kind == "f":
        series = array.shape[1] if array.ndim == 2 else 1
        return History(values=Values(values=array.astype(np.float32).ravel(), series=series))
    if array.ndim == 2:
        raise ValueError("tokens are one row; numbers of several series are float: .astype(float)")
    if array.min() < 0 or array.max() >= 1 << 32:
        raise ValueError("tokens are 0 to the vocabulary's size less 1; values are float")
    return History(tokens=Tokens(ids=array.ravel().tolist()))


def join(before: History, after: History, *, keep: int) -> History:
    """The last ``keep`` steps, or characters, of both, one after the other.

    Raises:
        ValueError: they are of different kinds.
    """
    kind = before.WhichOneof("content")
    if kind is None:
        kind = after.WhichOneof("content")
    if after.WhichOneof("content") != kind:
        raise ValueError(
            f"a stream observes one kind: {kind} first, now {after.WhichOneof('content')}"
        )
    if kind == "text":
        return History(text=(before.text + after.text)[-keep:])
    if kind == "tokens":
        return History(tokens=Tokens(ids=[*before.tokens.ids, *after.tokens.ids][-keep:]))
    series = after.values.series
    values = [*before.values.values, *after.values.values][-keep * series :]
    return History(values=Values(values=values, series=series))


def count_steps(history: History) -> int:
    """How many steps, or characters, it holds."""
    match history.WhichOneof("content"):
        case "text":
            return len(history.text)
        case "tokens":
            return len(history.tokens.ids)
        case "values":
            return len(history.values.values) // history.values.series
        case _:
            return 0
