"""Processes of a measurement: pinned to cores; CPU time and memory of a whole tree."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

STOP_TIMEOUT_S = 30
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


class BenchError(Exception):
    """The bench cannot continue; the message says why and what to do."""


def pinned(cores: str, command: Sequence[str]) -> list[str]:
    """The command, bound with all its children to ``cores``, such as ``0`` or ``0-3``."""
    return ["taskset", "-c", cores, *command]


def count_cores(cores: str) -> int:
    """How many cores ``0``, ``0-3`` or ``0,2-3`` names."""
    ends = [part.partition("-") for part in cores.split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(
    cores: str, command: Sequence[str], environment: dict[str, str] | None = None
) -> Iterator[psutil.Process]:
    """A pinned process, stopped at the end with SIGTERM, and with SIGKILL if that fails.

    Raises:
        BenchError: the process had stopped by itself, or failed; the message has its log.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            pinned(cores, command),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
        )
        try:
            yield psutil.Process(process.pid)
            if process.poll() is not None:
                raise BenchError("the process stopped by itself")
        except BenchError as err:
            log.seek(0)
            raise BenchError(f"{err}; {' '.join(command)} wrote:\n{log.read()[-3000:]}") from err
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        for member in tree(psutil.Process(process.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()


def tree(root: psutil.Process) -> list[psutil.Process]:
    """The process and all its descendants."""
    return [root, *root.children(recursive=True)]


def cpu_s(root: psutil.Process) -> float:
    """CPU time, user and system, that the tree has used so far, dead children included."""
    total = 0.0
    for member in tree(root):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_bytes(root: psutil.Process) -> int:
    """Proportional set size of the tree: memory that several processes share counts once."""
    total = 0
    for member in tree(root):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{member.pid}/smaps_rollup").read_text()
            if found := _PSS.search(rollup):
                total += 1024 * int(found[1])
    return total
