"""The server: supervisor, frontends, workers, and the shared-memory channel between them."""

import os

# From 1.29 on, ONNX Runtime tells its maker of every session (the model's file name, hashes of its
# weights) unless this is set before it is imported; `disable_telemetry_events` comes too late.
# Whoever wants that may set it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
