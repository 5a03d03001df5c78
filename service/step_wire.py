"""Steps of text as they are on the wire, joined from a piece for each token.

That is five times as fast as a message object for each step. `Continuation`,
`PredictStreamResponse` and `FollowResponse` have their steps in the same field, so one spelling
does for all.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.v1 import sequence_pb2 as pb

_FLOAT_BYTES = 4


def token_heads(vocabulary: Iterable[str]) -> tuple[bytes, ...]:
    """Each token's step, all but the four bytes of its log-probability, which come last."""
    return tuple(
        pb.Continuation(
            # Any number but 0, which is not written.
            steps=[pb.Step(text=text, token=token, log_probability=-1)]
        ).SerializeToString()[:-_FLOAT_BYTES]
        for token, text in enumerate(vocabulary)
    )


def join_steps(
    heads: Sequence[bytes], tokens: Sequence[int], log_probabilities: NDArray[np.floating[Any]]
) -> bytes:
    """The field ``steps`` of a message that has it, for ``MergeFromString``."""
    bits = log_probabilities.astype("<f4").tobytes()
    ends = range(_FLOAT_BYTES, len(bits) + 1, _FLOAT_BYTES)
    return b"".join(
        [
            heads[token] + bits[end - _FLOAT_BYTES : end]
            for token, end in zip(tokens, ends, strict=True)
        ]
    )
