"""The load generator's input and output."""

import struct

import pytest

from bench.cases import body_of, frame, planned_cells, request_of
from bench.load import CONNECTIONS, check_bodies, connections, parse_log, parse_summary
from bench.measure import count_items, requests_for
from bench.networks import NETWORKS
from bench.processes import BenchError, count_cores
from bench.results import Cell, Photo
from sightline.v1 import classification_pb2 as pb

SUMMARY = """\
finished in 338.30ms, 2956.00 req/s, 338.23KB/s
requests: 1000 total, 1000 started, 1000 done, 998 succeeded, 2 failed, 0 errored, 0 timeout
status codes: 998 2xx, 0 3xx, 0 4xx, 2 5xx
traffic: 114.42KB (117169) total, 5.13KB (5256) headers (space savings 93.39%), 60.64KB (62100) data
"""
ROW = Cell(model="tinycnn", photo=Photo.RAW, items=3, messages=1, in_flight=1)


def test_a_frame_is_a_zero_the_length_and_the_message() -> None:
    assert frame(b"abc") == b"\x00\x00\x00\x00\x03abc"


def test_a_call_has_one_frame_with_all_its_items() -> None:
    body = body_of(ROW)
    request = pb.ClassifyRequest.FromString(body[5:])
    assert struct.unpack(">BI", body[:5]) == (0, len(body) - 5)
    assert [len(image.pixels.data) for image in request.images] == [784, 784, 784]


def test_a_stream_has_one_frame_a_message() -> None:
    body, numbers = body_of(ROW.model_copy(update={"messages": 4})), []
    while body:
        _, length = struct.unpack(">BI", body[:5])
        message = pb.ClassifyStreamRequest.FromString(body[5 : 5 + length])
        assert message.request == request_of(ROW)
        numbers.append(message.id)
        body = body[5 + length :]
    assert numbers == [0, 1, 2, 3]


def test_the_log_gives_starts_and_latencies_in_seconds_of_what_was_answered() -> None:
    log = "1000000\t200\t2055\n1500000\t-1\t99\n2000000\t200\t844\n"
    assert parse_log(log) == ([1.0, 2.0], [0.002055, 0.000844])


def test_the_summary_gives_successes_and_bytes() -> None:
    assert parse_summary(SUMMARY) == (998, 62100)


def test_an_unknown_summary_is_refused() -> None:
    with pytest.raises(BenchError, match="unknown"):
        parse_summary("h2load: nothing to see")


@pytest.mark.parametrize("actual", [0, 90, 110])
def test_answers_of_another_size_count_as_failed_calls(actual: float) -> None:
    with pytest.raises(BenchError, match="calls have failed"):
        check_bodies(100, actual)


def test_answers_of_nearly_the_size_are_right() -> None:
    check_bodies(1000, 1001)


@pytest.mark.parametrize("in_flight", CONNECTIONS)
def test_connections_and_their_streams_make_up_what_is_in_flight(in_flight: int) -> None:
    count, streams = connections(in_flight)
    assert count * streams == in_flight


def test_every_planned_load_is_one_that_can_be_made() -> None:
    cells = planned_cells(tuple(NETWORKS), quick=False)
    assert {cell.in_flight for cell in cells} == set(CONNECTIONS)


def test_the_requests_of_a_measurement_are_a_multiple_of_those_in_flight() -> None:
    cell = ROW.model_copy(update={"in_flight": 8})
    assert requests_for(cell, seconds=2, rate=101) == 200
    assert requests_for(cell, seconds=2, rate=0.1) == 16


def test_items_of_the_model_are_counted_by_code() -> None:
    metrics = (
        "# TYPE sightline_items_total counter\n"
        'sightline_items_total{code="OK",model="a"} 12.0\n'
        'sightline_items_total{code="INVALID_ARGUMENT",model="a"} 3.0\n'
        'sightline_items_total{code="OK",model="b"} 7.0\n'
    )
    assert count_items(metrics, "a") == {"OK": 12, "INVALID_ARGUMENT": 3}


@pytest.mark.parametrize(("cores", "count"), [("0", 1), ("0-3", 4), ("0,2-3", 3)])
def test_cores_are_counted_as_taskset_reads_them(cores: str, count: int) -> None:
    assert count_cores(cores) == count
