"""The times of an answered request, written into its response and into the metrics."""

import time

from service.frontend.call import Call
from service.frontend.request_metrics import RequestMetrics, Stages
from service.ipc.doorbell import Outcome
from sightline.v1 import models_pb2


def record_answer(
    request_metrics: RequestMetrics,
    call: Call,
    outcome: Outcome,
    items: int,
    decode_ns: int,
    post_started_ns: int | None = None,
    timing: models_pb2.Timing | None = None,
    device: str = "",
) -> None:
    """Record the stages of a request and its answered items.

    Args:
        request_metrics: of this frontend.
        call: of the request; it knows the model's name.
        outcome: the worker's times and batch size.
        items: how many were answered.
        decode_ns: from the request to the submission.
        post_started_ns: when the response was begun; None: the time that no other stage took, for
            steps that are sent while others are made.
        timing: of the response, if it has one.
        device: for ``timing``.
    """
    ended_ns = time.monotonic_ns()
    decode_s, queue_s, run_s = decode_ns / 1e9, outcome.queue_ns / 1e9, outcome.run_ns / 1e9
    total_s = (ended_ns - call.received_ns) / 1e9
    if post_started_ns is None:
        post_s = max(0.0, total_s - decode_s - queue_s - run_s)
    else:
        post_s = (ended_ns - post_started_ns) / 1e9
    if timing is not None:
        timing.decode_seconds, timing.queue_seconds = decode_s, queue_s
        timing.run_seconds, timing.total_seconds = run_s, total_s
        timing.batch_size, timing.device = outcome.batch_size, device
    request_metrics.add_stages(call.model, Stages(decode_s, queue_s, run_s, post_s, total_s))
    request_metrics.add_items(call.model, "OK", items)
