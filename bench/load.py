"""The load generator: h2load of nghttp2 drives gRPC with a body that is framed beforehand.

It is written in C and needs a fraction of a core, where a Python client would need several. It does
not read gRPC's trailers, so a failed call is ``200 OK`` to it. Therefore the bytes of the responses
are counted as well: a failed call has no body, and an item's error has another size than its result
(see :func:`check_bodies`).
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError, pinned

BODY_TOLERANCE = 0.03  # responses differ by some bytes: protobuf leaves out zeros
_TIMEOUT_S = 180

_REQUESTS = re.compile(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", re.MULTILINE)
_BODIES = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)

# In flight -> connections. There are several, so that every frontend of a port gets some.
CONNECTIONS = {1: 1, 4: 4, 8: 4, 32: 4}


@dataclass(frozen=True)
class LoadReport:
    """The load generator's figures."""

    elapsed_s: float  # from the first request's start to the last answer's end
    latencies_s: list[float]  # one a request
    body_bytes: float  # of an answer, mean
    core_share: float  # of its own core


def connections(in_flight: int) -> tuple[int, int]:
    """How ``in_flight`` requests are spread: connections, and streams on each."""
    count = CONNECTIONS.get(in_flight, 1)
    return count, in_flight // count


def drive(
    address: str, method: str, body: Path, *, in_flight: int, requests: int, cores: str
) -> LoadReport:
    """Send ``requests`` requests, with ``in_flight`` of them always under way.

    Args:
        address: ``HOST:PORT``.
        method: path of the RPC.
        body: file with the framed body of one request.
        in_flight: a key of ``CONNECTIONS``.
        requests: how many in all.
        cores: where the load generator runs.

    Raises:
        BenchError: a request was not answered, or not with HTTP 200.
    """
    clients, streams = connections(in_flight)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "requests.tsv"
        command = ["h2load", f"-n{requests}", f"-c{clients}", f"-m{streams}", f"-d{body}"]
        command += ["-w30", "-W30", "-f16777215", f"--log-file={log}"]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += [f"http://{address}{method}"]
        output, core_share = _run(pinned(cores, command))
        starts, latencies_s = parse_log(log.read_text())
    succeeded, bodies = parse_summary(output)
    if succeeded != requests or len(latencies_s) != requests:
        raise BenchError(
            f"{requests - succeeded} of {requests} requests to {method} had no response"
        )
    ends = [start + latency for start, latency in zip(starts, latencies_s, strict=True)]
    return LoadReport(max(ends) - min(starts), latencies_s, bodies / requests, core_share)


def _run(command: list[str]) -> tuple[str, float]:
    """Output of the command, and its CPU time over its wall time."""
    before = os.times()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except FileNotFoundError as err:
        raise BenchError(f"{err.filename} is missing: apt-get install nghttp2-client") from err
    except subprocess.TimeoutExpired as err:
        raise BenchError(f"no end after {_TIMEOUT_S} s of {' '.join(command)}") from err
    after = os.times()
    if done.returncode:
        raise BenchError(f"h2load failed: {done.stderr.strip() or done.stdout.strip()}")
    used_s = after.children_user + after.children_system
    used_s -= before.children_user + before.children_system
    return done.stdout, used_s / (after.elapsed - before.elapsed)


def parse_log(text: str) -> tuple[list[float], list[float]]:
    """Read h2load's log: start in microseconds, HTTP status, duration in microseconds.

    Returns:
        Starts and latencies, in seconds, of the requests that were answered with 200.
    """
    rows = [line.split("\t") for line in text.splitlines()]
    answered = [(int(start), int(took)) for start, status, took in rows if status == "200"]
    return [start / 1e6 for start, _ in answered], [took / 1e6 for _, took in answered]


def parse_summary(text: str) -> tuple[int, int]:
    """Read the summary that h2load prints at the end.

    Returns:
        Requests that had HTTP status 2xx, and the bytes of all responses' bodies.
    """
    requests, bodies = _REQUESTS.search(text), _BODIES.search(text)
    if not requests or not bodies:
        raise BenchError(f"h2load printed something unknown:\n{text}")
    return int(requests[1]), int(bodies[1])


def check_bodies(expected_bytes: float, actual_bytes: float) -> None:
    """Compare the mean size of the responses with the size of one that was read and is right.

    Raises:
        BenchError: they differ by more than ``BODY_TOLERANCE``: calls or items have failed.
    """
    if abs(actual_bytes - expected_bytes) > BODY_TOLERANCE * expected_bytes:
        raise BenchError(
            f"responses had {actual_bytes:.0f} bytes on average, but a right one has"
            f" {expected_bytes:.0f}: calls have failed under load"
        )
