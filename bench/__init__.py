"""The measurements: ``python -m bench`` compares the service with a baseline and with ceilings."""

import service  # noqa: F401  # before ONNX Runtime, which it keeps from reporting to its maker
