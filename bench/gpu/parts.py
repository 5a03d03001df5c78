"""A part of the check: a process that prints JSON lines, stopped when its time is over."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
"""The project's root: where every part runs."""
_TAIL = 600  # characters of a failed part's own words that are kept


@dataclass(frozen=True)
class Outcome:
    """What a part printed before it ended or was stopped."""

    rows: list[dict[str, Any]]
    error: str
    """Why it did not end well; empty if it did."""
    seconds: float


class Clock:
    """The time that is left for the whole check."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def at_most(self, seconds: float) -> float:
        """The smaller of ``seconds`` and what is left; at least one second."""
        return max(1.0, min(seconds, self._ends - time.monotonic()))


def run_part(
    module: str,
    arguments: Sequence[str],
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run ``python -m MODULE ARGUMENTS`` for at most ``seconds``, with all its children.

    Never raises for what the part does: its failure is in the outcome.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env={**os.environ, **_with_root_on_path(), **(environment or {})},
            start_new_session=True,
        )
        assert process.stdout is not None
        rows: list[dict[str, Any]] = []
        reader = threading.Thread(target=_read_rows, args=(process.stdout, rows), daemon=True)
        reader.start()
        error = ""
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            error = f"stopped after {seconds:.0f} s"
        else:
            log.seek(0)
            error = f"exit {code}: {log.read()[-_TAIL:].strip()}" if code else ""
        _kill_group(process)
        reader.join(5)
    return Outcome(rows, error, time.monotonic() - started)


def print_row(**values: object) -> None:
    """One line of a part's output."""
    print(json.dumps(values), flush=True)


def _with_root_on_path() -> dict[str, str]:
    known = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": f"{known}{os.pathsep if known else ''}{ROOT}"}


def _read_rows(lines: IO[str], rows: list[dict[str, Any]]) -> None:
    """Collect the JSON lines; a library's own words between them are passed over."""
    with lines:
        for line in lines:
            if line.startswith("{"):
                with contextlib.suppress(ValueError):
                    rows.append(json.loads(line))


def _kill_group(process: subprocess.Popen[str]) -> None:
    """End what the part left behind, servers included; nothing is left after a good end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
