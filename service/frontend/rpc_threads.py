"""The threads that answer RPCs: a thread pool with only the methods that gRPC uses.

``concurrent.futures.ThreadPoolExecutor`` costs a call several locks, a condition and a semaphore, a
tenth of the CPU time of a small request. This pool takes one lock. It uses the most recent idle
thread first, because its stack is still in the cache. docs/adr/0004-threaded-frontends.md has the
measurement.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class SubmittedCall:
    """A call that was submitted, with the methods of a future that gRPC uses."""

    __slots__ = ("_callbacks", "_is_done", "run")

    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run
        self._is_done = False
        self._callbacks: deque[Callable[[Any], object]] = deque()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Run ``callback(call)`` when the call is done, or at once if it is done."""
        self._callbacks.append(callback)
        if self._is_done:
            self.finish()

    def finish(self) -> None:
        """For the thread that ran it. The deque gives each callback to one thread only."""
        self._is_done = True
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:  # the other thread took the last one
                return
            callback(self)


class _Thread:
    """Waits for a call, runs it, and reports itself idle again."""

    def __init__(self, idle: "deque[_Thread]", first: SubmittedCall, name: str) -> None:
        self._idle = idle
        self._call: SubmittedCall | None = first
        self._wake = threading.Lock()
        self._wake.acquire()
        threading.Thread(target=self._main, name=name, daemon=True).start()

    def give(self, call: SubmittedCall) -> None:
        self._call = call
        self._wake.release()

    def _main(self) -> None:
        while True:
            call, self._call = self._call, None
            assert call is not None
            try:
                call.run()
            except Exception:  # gRPC catches errors of servicers; this is a bug here or in gRPC
                logger.exception("an RPC's thread failed")
            call.finish()
            del call  # an idle thread must not keep a request alive after its call
            self._idle.append(self)
            self._wake.acquire()


class RpcThreads:
    """Starts a thread when all are busy.

    gRPC bounds the number of calls, and so of threads (``maximum_concurrent_rpcs``).
    """

    def __init__(self) -> None:
        self._idle: deque[_Thread] = deque()
        self._started = 0

    def submit(self, function: Callable[..., object], *arguments: Any) -> SubmittedCall:
        """Run ``function(*arguments)`` in a thread."""
        call = SubmittedCall(lambda: function(*arguments))
        try:
            thread = self._idle.pop()
        except IndexError:
            self._started += 1
            _Thread(self._idle, call, f"rpc {self._started}")
        else:
            thread.give(call)
        return call
