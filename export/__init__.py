"""Networks, training recipes, and the way from a PyTorch checkpoint to a verified artifact."""
