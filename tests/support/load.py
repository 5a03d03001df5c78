"""Callers that keep a server busy while a test does it harm."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from sightline.v1 import classification_pb2_grpc
from tests.support.requests import classify
from tests.support.running import Server


class Load:
    """Keeps ``callers`` calls in flight until told to stop."""

    def __init__(self, target: str, callers: int) -> None:
        self.answered = 0
        self.failures: list[grpc.RpcError] = []
        self._channel = grpc.insecure_channel(target)
        self._stub = classification_pb2_grpc.ClassificationServiceStub(self._channel)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(callers)
        self._futures = [self._pool.submit(self._call) for _ in range(callers)]

    def _call(self) -> None:
        while not self._stop.is_set():
            try:
                self._stub.Classify(classify(), timeout=30)
            except grpc.RpcError as err:
                self.failures.append(err)
            else:
                with self._lock:
                    self.answered += 1

    def wait_for_more(self, count: int) -> None:
        """Until ``count`` more calls are answered than now."""
        target, ends = self.answered + count, time.monotonic() + 60
        while self.answered < target:
            assert time.monotonic() < ends, f"only {self.answered} of {target}: {self.failures[:3]}"
            time.sleep(0.01)

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for future in self._futures:
            future.result(timeout=60)
        self._pool.shutdown()
        self._channel.close()


def replace_worker(server: Server, load: Load) -> None:
    """``kill -9`` the only worker under load, and wait for its successor."""
    load.wait_for_more(100)
    (worker,) = server.pids("worker")
    os.kill(worker, signal.SIGKILL)
    wait_for_another(server, "worker", worker)


def wait_for_another(server: Server, kind: str, pid: int) -> None:
    server.wait_until(lambda it: it.pids(kind) not in ([], [pid]))
