"""Networks, training recipes, and the way from a PyTorch checkpoint to a verified artifact."""

import service  # noqa: F401  # before ONNX Runtime, which it keeps from reporting to its maker
