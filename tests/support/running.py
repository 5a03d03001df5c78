"""A real server in its own processes, on ports the system chooses."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

START_TIMEOUT_S = 60.0


class Server:
    """What a test may want to know of a running server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self.grpc_port = self.http_port = 0
        self._has_ports = threading.Event()
        threading.Thread(target=self._read_log, daemon=True).start()
        if not self._has_ports.wait(START_TIMEOUT_S):
            raise RuntimeError("no ports in the log:\n" + "".join(self.log))

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log.append(line)
                if found := re.search(r"gRPC on \S+:(\d+), status on \S+:(\d+)", line):
                    self.grpc_port, self.http_port = int(found[1]), int(found[2])
                    self._has_ports.set()
        self._has_ports.set()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def get(self, path: str) -> tuple[int, str]:
        """Status code and body of the HTTP port's answer."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.http_port}{path}", timeout=10
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as err:
            with err:
                return err.code, err.read().decode()

    def status(self) -> dict[str, dict[str, str]]:
        return json.loads(self.get("/readyz")[1])

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, ``name{label="x"}``; 0 when it is not there."""
        for each in self.get("/metrics")[1].splitlines():
            if each.startswith(line + " "):
                return float(each.rsplit(" ", 1)[1])
        return 0.0

    def pids(self, kind: str) -> list[int]:
        """Of the running processes of a kind: ``worker`` or ``frontend``."""
        found: list[int] = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                if f"service.{kind}" in child.cmdline():
                    found.append(child.pid)
        return found

    def wait_until(
        self, condition: "Callable[[Server], bool]", timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """Poll; a server that never gets there fails the test with its log."""
        ends = time.monotonic() + timeout_s
        while time.monotonic() < ends:
            if condition(self):
                return
            if self.process.poll() is not None:
                raise RuntimeError("the server ended:\n" + "".join(self.log))
            time.sleep(0.05)
        raise TimeoutError("".join(self.log) + self.get("/readyz")[1])

    def assert_eventually(
        self, condition: "Callable[[Server], bool]", timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """As `wait_until`, where that the server gets there is what the test claims."""
        try:
            self.wait_until(condition, timeout_s)
        except TimeoutError as err:
            raise AssertionError(f"not within {timeout_s} s: {err}") from None

    def wait_until_ready(self) -> None:
        self.wait_until(lambda server: server.get("/readyz")[0] == 200)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def running_server(
    models: Path, *flags: str, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """``python -m service`` until the block ends."""
    command = [sys.executable, "-m", "service", "--models", str(models), "--devices", "cpu"]
    command += ["--grpc-port", "0", "--http-port", "0", *flags]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    server = Server(process)
    try:
        yield server
    finally:
        if process.poll() is None:
            server.stop()
