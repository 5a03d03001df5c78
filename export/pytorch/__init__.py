"""From a PyTorch network to a verified artifact."""
