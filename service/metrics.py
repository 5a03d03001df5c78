"""Every metric of the server. ``docs/metrics.md`` explains them; a test holds the two equal.

All processes write to files in one folder (prometheus-client's multiprocess mode), which the
supervisor reads when it is scraped. A file has the name of its process, not its number, so a
restarted process goes on counting where the lost one stopped.
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
    _files.ValueClass = _files.MultiProcessValue(lambda: _name)  # called at every increment

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
    "Items of requests, by how they ended: OK, or the gRPC status of their error.",
    ["model", "code"],
)
FAULTY_IMAGES = Counter(
    "sightline_faulty_images_total",
    "Image files answered although they have a fault, because their pixels are complete.",
    ["fault"],
)
STAGE_DURATION = Histogram(
    "sightline_stage_duration_seconds",
    "Time of one request in one stage: decode, queue, run, post or total.",
    ["model", "stage"],
    buckets=_DURATION_BUCKETS_S,
)
BATCH_SIZE = Histogram(
    "sightline_batch_size_items",
    "Items in one forward run on the device.",
    ["model", "device"],
    buckets=_SIZE_BUCKETS,
)
QUEUED_ITEMS = Gauge(
    "sightline_queued_items",
    "Items that wait for the device, in all workers.",
    ["model"],
    multiprocess_mode="livesum",
)
RUNNING_ITEMS = Gauge(
    "sightline_running_items",
    "Items in forward runs at this moment, in all workers.",
    multiprocess_mode="livesum",
)
DROPPED_ITEMS = Counter(
    "sightline_dropped_items_total",
    "Items queued but not run: the caller cancelled, or the deadline could not be met.",
    ["model", "reason"],
)
LIVE_SEQUENCES = Gauge(
    "sightline_live_sequences",
    "Rows of the decoding cache in use, in all workers.",
    ["model"],
    multiprocess_mode="livesum",
)
SEQUENCE_STEPS = Counter(
    "sightline_sequence_steps_total",
    "Decode steps, over all sequences.",
    ["model"],
)
SEQUENCE_ELEMENTS_READ = Counter(
    "sightline_sequence_elements_read_total",
    "Elements of histories that were prefilled.",
    ["model"],
)
TURNS = Counter(
    "sightline_decoding_turns_total",
    "Iterations of the decoding engine: each is one decode step of all live sequences, or one"
    " prefill chunk.",
    ["model", "device"],
)
TURN_SECONDS = Counter(
    "sightline_decoding_turn_seconds_total",
    "Time of these iterations.",
    ["model", "device"],
)
SLOTS_IN_USE = Gauge(
    "sightline_slots_in_use",
    "Requests that hold shared memory, in all frontends.",
    multiprocess_mode="livesum",
)
SLOT_BYTES_IN_USE = Gauge(
    "sightline_slot_bytes_in_use",
    "Shared memory held by requests, in all frontends.",
    multiprocess_mode="livesum",
)
RERUN_REQUESTS = Counter(
    "sightline_rerun_requests_total",
    "Requests run again on another worker because theirs was lost.",
)
PROCESS_RESTARTS = Counter(
    "sightline_process_restarts_total",
    "Processes that died and were restarted, by kind: worker or frontend.",
    ["kind"],
)
MODEL_READY = Gauge(
    "sightline_model_ready",
    "Workers that have the version ready; 0 while it loads or after it failed.",
    ["model", "version", "device"],
    multiprocess_mode="mostrecent",
)
MODEL_LOAD_DURATION = Gauge(
    "sightline_model_load_duration_seconds",
    "Duration of the last load: checks, session, golden replay, calibration.",
    ["model", "version", "device"],
    multiprocess_mode="mostrecent",
)
BUILD_INFO = Gauge(
    "sightline_build_info",
    "Always 1; the labels name the running versions.",
    ["version", "python", "onnxruntime", "grpc"],
    multiprocess_mode="mostrecent",
)
# Not kept in files: the supervisor reads these from the system when it is scraped; see
# supervisor/status_server.py.
PROCESS_MEMORY = (
    "sightline_process_memory_bytes",
    "Private resident memory of one process (USS).",
)
PROCESS_UP = ("sightline_process_up", "1 while the process runs and has reported that it started.")


def forget_process(name: str) -> None:
    """Remove the gauges of a dead process; its counters and histograms stay."""
    for file in Path(os.environ[FOLDER_VARIABLE]).glob(f"gauge_live*_{name}.db"):
        file.unlink(missing_ok=True)


def set_build_info() -> None:
    """Publish the versions of Sightline, Python, ONNX Runtime and gRPC."""
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
