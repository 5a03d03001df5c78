"""The server: supervisor, frontends, workers, and the shared-memory channel between them."""

import os

# From 1.29 on, ONNX Runtime reports every session (the model's file name, hashes of its weights) to
# its maker unless this is set before it is imported; `disable_telemetry_events` comes too late.
# Set it to 0 to allow the reports.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
