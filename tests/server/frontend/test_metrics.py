import re
import time
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from service import metrics
from service.frontend.request_metrics import FLUSH_INTERVAL_S
from tests.support.requests import classify
from tests.support.running import Server
from tests.support.stubs import Stubs

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def in_code() -> dict[str, tuple[str, ...]]:
    """Name -> labels of every metric of the server."""
    found: dict[str, tuple[str, ...]] = {}
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            (family,) = value.describe()
            suffix = "_total" if family.type == "counter" else ""
            found[family.name + suffix] = tuple(value._labelnames)
    for name, _ in (metrics.PROCESS_MEMORY, metrics.PROCESS_UP):
        found[name] = ("process",)
    return found


def in_document() -> dict[str, tuple[str, ...]]:
    rows = re.findall(r"^\| `(sightline_\w+)` \| \w+ \| (.*?) \|", DOCUMENT.read_text(), flags=re.M)
    return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_the_document_and_the_code_name_the_same_metrics() -> None:
    assert in_document() == in_code()


def test_scraped_metrics_are_documented_and_can_be_parsed(server: Server, stubs: Stubs) -> None:
    stubs.classification.Classify(classify())
    families = list(text_string_to_metric_families(server.get("/metrics")[1]))
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert names <= set(in_document())


def test_a_call_is_counted_once_with_every_stage(server: Server, stubs: Stubs) -> None:
    requests = 'sightline_requests_total{code="OK",method="Classify",model="tiny"}'
    stages = [
        f'sightline_stage_duration_seconds_count{{model="tiny",stage="{stage}"}}'
        for stage in ("decode", "queue", "run", "post", "total")
    ]
    before = settled(server, requests, *stages)
    stubs.classification.Classify(classify())
    server.wait_until(lambda it: it.metric(requests) == before[0] + 1)
    assert settled(server, requests, *stages) == [value + 1 for value in before]


def settled(server: Server, *lines: str) -> list[float]:
    """The values, once what earlier calls left behind has been flushed."""
    values: list[float] = []
    while values != (values := [server.metric(line) for line in lines]):
        time.sleep(3 * FLUSH_INTERVAL_S)
    return values


@pytest.mark.parametrize("process", ["supervisor", "frontend-0", "worker-0"])
def test_memory_is_reported_for_each_process(server: Server, process: str) -> None:
    assert server.metric(f'sightline_process_memory_bytes{{process="{process}"}}') > 1 << 20
