"""What a servicer knows of the call that it answers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from service.frontend.dispatch.concurrency import ConcurrentRequests
from service.frontend.errors import CALL_CANCELLED, CallCancelled, DeadlineExpired


@dataclass(slots=True, eq=False)
class Call:
    """One RPC, or one request of a stream, without the request itself."""

    deadline_ns: int  # CLOCK_MONOTONIC; far away for a stream without a deadline
    received_ns: int
    max_request_ns: int  # the time limit of one request, also of one on a stream
    on_end: Callable[[Callable[[], None]], bool]  # runs a callback at the end; False: has ended
    is_active: Callable[[], bool]  # False: the client has cancelled, or is gone
    concurrent_requests: ConcurrentRequests  # of this frontend
    model: str = ""  # the resolved name, for the metrics; never the text of the client
    _counted_in: set[object] | None = None  # the concurrent requests, while this is one of them

    def for_request(self, on_end: Callable[[Callable[[], None]], bool]) -> "Call":
        """The call of one request of a stream, with its own deadline and cancellation."""
        now_ns = time.monotonic_ns()
        deadline_ns = min(self.deadline_ns, now_ns + self.max_request_ns)
        return Call(
            *(deadline_ns, now_ns, self.max_request_ns, on_end, self.is_active),
            concurrent_requests=self.concurrent_requests,
            model=self.model,
        )

    def count_for(self, model_id: int) -> None:
        """Count this call among the concurrent requests for a model, until `end`."""
        self._counted_in = self.concurrent_requests.of(model_id)
        self._counted_in.add(self)

    def end(self) -> None:
        """The call is answered, or was given up."""
        if self._counted_in is not None:
            self._counted_in.discard(self)

    def check(self) -> None:
        """Raises if the call is expired or cancelled; check before expensive work.

        Raises:
            DeadlineExpired: the deadline has passed.
            CallCancelled: the client has cancelled the call.
        """
        if self.deadline_ns <= time.monotonic_ns():
            raise DeadlineExpired("the deadline passed before the request was read; allow more")
        if not self.is_active():
            raise CallCancelled(CALL_CANCELLED)


class CallContext(grpc.ServicerContext):
    """For annotations: a gRPC context to which the interceptor has added a :class:`Call`."""

    call: Call
