"""Answers of many small messages, as they are on the wire: joined from a piece for each of them.

A label or a token is always the same message but for its probability, which comes last. So each
one's *head*, all that goes before the four bytes of that number, is written once; to join heads and
numbers takes a fifth of the time that as many message objects take.
"""

import struct
from collections.abc import Iterable, Sequence

from google.protobuf.message import Message

from sightline.v1 import classification_pb2, sequence_pb2

_FLOAT_BYTES = 4


def label_heads(labels: Iterable[str]) -> tuple[bytes, ...]:
    """Of each class, as one of the ``labels`` of a `Classification`."""
    return tuple(
        _head(
            classification_pb2.Classification(
                labels=[classification_pb2.Label(name=label, index=index, score=1)]
            )
        )
        for index, label in enumerate(labels)
    )


def token_heads(vocabulary: Iterable[str]) -> tuple[bytes, ...]:
    """Of each token, as one of the ``steps`` of a `Continuation`.

    `PredictStreamResponse` and `FollowResponse` have their steps in the same field.
    """
    return tuple(
        _head(
            sequence_pb2.Continuation(
                steps=[sequence_pb2.Step(text=text, token=token, log_probability=1)]
            )
        )
        for token, text in enumerate(vocabulary)
    )


def join(heads: Sequence[bytes], numbers: Sequence[int], values: Sequence[float]) -> bytes:
    """For ``MergeFromString`` of a message of the kind that the heads were taken of.

    Args:
        heads: of all labels or tokens.
        numbers: of those that are wanted, in order.
        values: the probability of each, or its logarithm; written as a float32.
    """
    count = len(values)
    parts = [b""] * (2 * count)
    parts[::2] = map(heads.__getitem__, numbers)
    parts[1::2] = struct.unpack(f"<{'4s' * count}", struct.pack(f"<{count}f", *values))
    return b"".join(parts)


def _head(message: Message) -> bytes:
    """A message in which a float that is not 0 (0 is not written) comes last, but for that."""
    return message.SerializeToString()[:-_FLOAT_BYTES]
