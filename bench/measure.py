"""One cell on one server: probe, warm up, measure, probe again."""

import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.cases import body_of, endpoint_of, frame, request_of, stream_of
from bench.figures import quantile
from bench.load import LoadReport, check_bodies, drive
from bench.networks import NETWORKS
from bench.processes import BenchError, cpu_s
from bench.results import Cell, Sample, Server
from service.frontend.request_metrics import FLUSH_INTERVAL_S

MAX_MESSAGE_BYTES = 64 << 20
PROBE_TIMEOUT_S = 60
WARM_UP_SHARE = 0.2  # of the measured seconds
SETTLE_S = 2.5 * FLUSH_INTERVAL_S  # until the server has written what it counted

Load = Callable[[int], LoadReport]  # sends this number of requests


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready."""

    kind: Server
    address: str
    root: psutil.Process
    http_port: int | None = None
    """The address of its metrics; None if it has none."""

    def ended_items(self, model: str) -> Counter[str]:
        """Items that have ended by its own count, by gRPC code; empty without metrics."""
        if self.http_port is None:
            return Counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics") as response:
            return count_items(response.read().decode(), model)


def count_items(metrics: str, model: str) -> Counter[str]:
    """Read ``sightline_items_total`` of one model, by code, in Prometheus's text format."""
    total: Counter[str] = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "sightline_items_total" and sample.labels["model"] == model:
                total[sample.labels["code"]] += int(sample.value)
    return total


def measure(
    server: RunningServer, cell: Cell, *, seconds: float, cores: str, folder: Path
) -> Sample:
    """One round of one cell.

    Args:
        server: the server to ask.
        cell: what to send.
        seconds: about how long the measurement takes.
        cores: where the load generator runs.
        folder: for the file with the body.

    Raises:
        BenchError: a response was wrong or missing; the cell must not be counted.
    """
    seconds *= NETWORKS[cell.model].patience
    body = folder / "body.bin"
    body.write_bytes(body_of(cell))
    expected_bytes = probe(server.address, cell)

    def load(requests: int) -> LoadReport:
        method = endpoint_of(cell).path(is_stream=cell.is_stream)
        in_flight = cell.in_flight
        report = drive(
            server.address, method, body, in_flight=in_flight, requests=requests, cores=cores
        )
        check_bodies(expected_bytes, report.body_bytes)
        return report

    requests = requests_for(cell, seconds, warm_up(cell, seconds, load))
    report, item_cpu_s = _count_cpu(server, cell, requests, load)
    probe(server.address, cell)
    return Sample(
        cell=cell,
        server=server.kind,
        items_per_s=requests * cell.messages * cell.items / report.elapsed_s,
        p50_s=quantile(report.latencies_s, 0.5),
        p99_s=quantile(report.latencies_s, 0.99),
        cpu_s=item_cpu_s,
        load_share=report.core_share,
    )


def _count_cpu(
    server: RunningServer, cell: Cell, requests: int, load: Load
) -> tuple[LoadReport, float]:
    """Load the server; return the load's report, and the server's CPU seconds for each item."""
    items = requests * cell.messages * cell.items
    time.sleep(SETTLE_S)
    ended_before = server.ended_items(cell.model)
    cpu_before = cpu_s(server.root)
    report = load(requests)
    time.sleep(SETTLE_S)
    used_s = cpu_s(server.root) - cpu_before
    ended = server.ended_items(cell.model) - ended_before
    if server.http_port and ended != {"OK": items}:
        raise BenchError(f"sent were {items} items, and by the server's count ended {dict(ended)}")
    return report, used_s / items


def warm_up(cell: Cell, seconds: float, load: Load) -> float:
    """Send more and more requests until the time is long enough to give the rate.

    Returns:
        Requests a second.
    """
    requests = cell.in_flight
    while True:
        report = load(requests)
        if report.elapsed_s >= WARM_UP_SHARE * seconds:
            return requests / report.elapsed_s
        requests *= 4 if report.elapsed_s > WARM_UP_SHARE * seconds / 8 else 8


def requests_for(cell: Cell, seconds: float, rate: float) -> int:
    """Requests that take about ``seconds``: twice those in flight, or a larger multiple."""
    return cell.in_flight * max(round(seconds * rate / cell.in_flight), 2)


def probe(address: str, cell: Cell) -> int:
    """Ask once with a real client, and read the response.

    Returns:
        Bytes of the response's body on the wire.

    Raises:
        BenchError: the call failed, or one of its items.
    """
    limits = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ]
    with grpc.insecure_channel(address, options=limits) as channel:
        try:
            answers = list(_answers(channel, cell))
        except grpc.RpcError as err:
            raise BenchError(f"{cell.label}: {err.code().name}: {err.details()}") from err
    if len(answers) != cell.messages:
        raise BenchError(f"{cell.label}: {len(answers)} responses to {cell.messages} messages")
    for answer in answers:
        check_answer(cell, answer.response if cell.is_stream else answer)
    return sum(len(frame(answer.SerializeToString())) for answer in answers)


def _answers(channel: grpc.Channel, cell: Cell) -> Iterator[Any]:
    endpoint = endpoint_of(cell)
    stub = endpoint.stub(channel)
    if cell.is_stream:
        ask = getattr(stub, f"{endpoint.method}Stream")
        yield from ask(stream_of(cell), timeout=PROBE_TIMEOUT_S)
    else:
        yield getattr(stub, endpoint.method)(request_of(cell), timeout=PROBE_TIMEOUT_S)


def check_answer(cell: Cell, response: Any) -> None:
    """Check that every item has its result: labels or boxes, best first, or a whole mask.

    Raises:
        BenchError: one has not.
    """
    if len(response.results) != cell.items:
        raise BenchError(f"{cell.label}: {len(response.results)} results, expected {cell.items}")
    for result in response.results:
        if not endpoint_of(cell).is_right(result):
            raise BenchError(f"{cell.label}: {result.error.message or 'the answer is wrong'}")
