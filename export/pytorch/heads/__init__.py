"""The deployment head of each task."""
