"""The servicers of single requests: one for each task, and for tensors."""
