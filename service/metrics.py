"""Every metric of the server. ``docs/metrics.md`` explains them; a test holds the two equal.

All processes write to files of one folder (prometheus-client's multiprocess mode), which the
supervisor reads when it is scraped. A file bears its process's name and not its number: a process
that is started again goes on counting where the lost one stopped.
"""

import os
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, values

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus-client when it is imported
PROCESS_VARIABLE = "SIGHTLINE_PROCESS_NAME"  # set by the supervisor for its children

if FOLDER_VARIABLE in os.environ:
    _files: Any = values
    _name = os.environ.get(PROCESS_VARIABLE, "supervisor")
    _files.ValueClass = _files.MultiProcessValue(lambda: _name)  # asked at every increment

_DURATION_BUCKETS_S = (
    *(0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06),
    *(0.125, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
)
_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

REQUESTS = Counter(
    "sightline_requests_total",
    "RPCs answered, by method, model and final gRPC status.",
    ["method", "model", "code"],
)
ITEMS = Counter(
    "sightline_items_total",
    "Items of requests, by how they ended: ok, or the gRPC status of their error.",
    ["model", "code"],
)
STAGE_DURATION = Histogram(
    "sightline_stage_duration_seconds",
    "Time one request spent in one stage: decode, queue, run, post or total.",
    ["model", "stage"],
    buckets=_DURATION_BUCKETS_S,
)
BATCH_SIZE = Histogram(
    "sightline_batch_size_items",
    "Items in one run on the device.",
    ["model", "device"],
    buckets=_SIZE_BUCKETS,
)
QUEUED_ITEMS = Gauge(
    "sightline_queued_items",
    "Items that wait for the device, over all workers.",
    ["model"],
    multiprocess_mode="livesum",
)
RUNNING_ITEMS = Gauge(
    "sightline_running_items",
    "Items in runs on the devices at this moment, over all workers.",
    multiprocess_mode="livesum",
)
DROPPED_ITEMS = Counter(
    "sightline_dropped_items_total",
    "Items that were queued but not run, because the caller left or the deadline could not be met.",
    ["model", "reason"],
)
LIVE_SEQUENCES = Gauge(
    "sightline_live_sequences",
    "Places among the live sequences that are taken, over all workers.",
    ["model"],
    multiprocess_mode="livesum",
)
SEQUENCE_STEPS = Counter(
    "sightline_sequence_steps_total",
    "Steps made, over all sequences.",
    ["model"],
)
SEQUENCE_ELEMENTS_READ = Counter(
    "sightline_sequence_elements_read_total",
    "Elements of histories that were read.",
    ["model"],
)
TURNS = Counter(
    "sightline_decoding_turns_total",
    "Turns of the decoding engine: each makes one step of every live sequence, or reads a part of"
    " newcomers' histories.",
    ["model", "device"],
)
TURN_SECONDS = Counter(
    "sightline_decoding_turn_seconds_total",
    "Time that the turns took.",
    ["model", "device"],
)
SLOTS_IN_USE = Gauge(
    "sightline_slots_in_use",
    "Requests that hold a part of the shared memory, over all frontends.",
    multiprocess_mode="livesum",
)
SLOT_BYTES_IN_USE = Gauge(
    "sightline_slot_bytes_in_use",
    "Shared memory that requests hold, over all frontends.",
    multiprocess_mode="livesum",
)
RERUN_REQUESTS = Counter(
    "sightline_rerun_requests_total",
    "Requests that were given to another worker because theirs was lost.",
)
PROCESS_RESTARTS = Counter(
    "sightline_process_restarts_total",
    "Processes that died and were started again, by kind: worker or frontend.",
    ["kind"],
)
MODEL_READY = Gauge(
    "sightline_model_ready",
    "Workers that have the version ready; 0 while it loads or when it failed.",
    ["model", "version", "device"],
    multiprocess_mode="mostrecent",
)
MODEL_LOAD_DURATION = Gauge(
    "sightline_model_load_duration_seconds",
    "Time the last load took: checking, creating the session, golden replay, calibration.",
    ["model", "version", "device"],
    multiprocess_mode="mostrecent",
)
BUILD_INFO = Gauge(
    "sightline_build_info",
    "Always 1; the labels say what is running.",
    ["version", "python", "onnxruntime", "grpc"],
    multiprocess_mode="mostrecent",
)
# Not kept in files: the supervisor reads them from the system when it is scraped (see
# status_server.py).
PROCESS_MEMORY = (
    "sightline_process_memory_bytes",
    "Resident memory of one process that no other process shares with it (USS).",
)
PROCESS_UP = ("sightline_process_up", "1 while the process runs and has reported itself started.")


def forget_process(name: str) -> None:
    """Remove the gauges of a process that died; its counters and histograms stay."""
    for file in Path(os.environ[FOLDER_VARIABLE]).glob(f"gauge_live*_{name}.db"):
        file.unlink(missing_ok=True)


def set_build_info() -> None:
    """Say which versions of ours, Python, ONNX Runtime and gRPC run here."""
    versions: dict[str, str] = {}
    for package in ("sightline", "onnxruntime", "onnxruntime-gpu", "grpcio"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    runtime = versions.get("onnxruntime-gpu") or versions.get("onnxruntime", "")
    BUILD_INFO.labels(
        versions.get("sightline", ""), python_version(), runtime, versions["grpcio"]
    ).set(1)
