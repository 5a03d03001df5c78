"""The threads that answer RPCs: a thread pool with just what gRPC asks of one.

``concurrent.futures.ThreadPoolExecutor`` costs a call several locks, a condition and a semaphore, a
tenth of the CPU time of a small request; here it is one lock, and the thread that was used last,
whose stack is still in the cache, is used again first. docs/adr/0004-threaded-frontends.md has the
measurement.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class Task:
    """A call that was submitted; what gRPC needs of a future."""

    __slots__ = ("_callbacks", "_is_done", "run")

    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run
        self._is_done = False
        self._callbacks: deque[Callable[[Any], object]] = deque()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(task)`` when it is done; at once if it is."""
        self._callbacks.append(callback)
        if self._is_done:
            self.finish()

    def finish(self) -> None:
        """For the thread that ran it. A deque gives each callback to one caller only."""
        self._is_done = True
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:  # the other side took the last one
                return
            callback(self)


class _Thread:
    """Waits for a task, runs it, and reports itself idle again."""

    def __init__(self, idle: "deque[_Thread]", first: Task, name: str) -> None:
        self._idle = idle
        self._task: Task | None = first
        self._wake = threading.Lock()
        self._wake.acquire()
        threading.Thread(target=self._main, name=name, daemon=True).start()

    def give(self, task: Task) -> None:
        self._task = task
        self._wake.release()

    def _main(self) -> None:
        while True:
            task, self._task = self._task, None
            assert task is not None
            try:
                task.run()
            except Exception:  # gRPC catches what servicers raise; this is a bug of ours or of its
                logger.exception("an RPC's thread failed")
            task.finish()
            del task  # a request must not outlive its call only because this thread idles
            self._idle.append(self)
            self._wake.acquire()


class RpcThreads:
    """Starts a thread when all are busy.

    How many calls there are, and so threads, is bounded by gRPC (``maximum_concurrent_rpcs``).
    """

    def __init__(self) -> None:
        self._idle: deque[_Thread] = deque()
        self._started = 0

    def submit(self, call: Callable[..., object], *arguments: Any) -> Task:
        """Run ``call(*arguments)`` in a thread."""
        task = Task(lambda: call(*arguments))
        try:
            thread = self._idle.pop()
        except IndexError:
            self._started += 1
            _Thread(self._idle, task, f"rpc {self._started}")
        else:
            thread.give(task)
        return task
