"""When a failed call is repeated, and after how long; both clients share it.

Inference is a pure function, so asking again changes nothing on the server. ``UNAVAILABLE`` is
therefore always safe to retry, also when the connection was lost after the request had been sent;
so is ``RESOURCE_EXHAUSTED``, which the server answers before it does any work. No other status is
retried: the same input would fail again, or the time is up.

gRPC can retry by itself (``retryPolicy`` in the service config). We do not use it, because it

- answers a bare DEADLINE_EXCEEDED when its next delay does not fit the deadline, and so hides the
  reason (measured with grpcio 1.85); we raise the last error while there is time to read it,
- stops retrying once response headers have arrived, though a lost answer can simply be asked again,
- keeps only 256 KiB of each request for another attempt by default, less than one image,
- clamps ``maxAttempts`` at 5 and logs a line about it for every channel,
- knows nothing of answers within a stream.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from grpc import StatusCode

from sightline.errors import DeadlineExceeded, InvalidInput, SightlineError

RETRYABLE = frozenset({StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a failed call is repeated, and after which pauses.

    The defaults give a restarted server process about three seconds to come back. The pauses
    double from ``initial_backoff_s`` to ``max_backoff_s``; each is drawn from 75 % to 125 % of
    that, so that clients that failed together do not return together.
    """

    max_attempts: int = 5
    """The first one included; 1 turns retrying off."""
    initial_backoff_s: float = 0.2
    max_backoff_s: float = 5.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is at least 1, not {self.max_attempts}")
        if not 0 <= self.initial_backoff_s <= self.max_backoff_s:
            raise ValueError("a backoff is 0 s or more, and the initial one at most max_backoff_s")

    def backoff_s(self, failures: int, *, draw: float) -> float:
        """The pause after this number of failures; ``draw`` is a random number in 0..1."""
        doublings = min(failures - 1, 62)  # beyond, the float overflows; any cap is reached before
        return min(self.max_backoff_s, self.initial_backoff_s * 2.0**doublings) * (0.75 + draw / 2)


DEFAULT_RETRY = Retry()
DEFAULT_TIMEOUT_S = 30.0
READY_POLL_S = 0.2
"""How often a client that waits for a model looks again."""


class Attempts:
    """The attempts at one call: how many are left, and how much of the caller's time."""

    def __init__(
        self,
        retry: Retry,
        timeout_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._retry = retry
        self._clock = clock
        self._draw = draw
        self._deadline = clock() + timeout_s
        self._failures = 0

    def remaining_s(self) -> float:
        """The time left for all attempts and pauses together.

        Raises:
            DeadlineExceeded: no time is left; gRPC might still make a call then.
        """
        if (left_s := self._left_s()) <= 0:
            raise DeadlineExceeded("the answer did not come within timeout_s")
        return left_s

    def delay_after(self, error: SightlineError) -> float | None:
        """Seconds to wait before the next attempt; None when this error is final."""
        self._failures += 1
        if error.code not in RETRYABLE or isinstance(error, InvalidInput):
            return None
        if self._failures >= self._retry.max_attempts:
            return None
        delay_s = self._retry.backoff_s(self._failures, draw=self._draw())
        if error.retry_after_s is not None:
            delay_s = max(delay_s, error.retry_after_s)
        # A pause longer than the time left would replace the reason by a time-out.
        return delay_s if delay_s < self._left_s() else None

    def _left_s(self) -> float:
        return self._deadline - self._clock()
