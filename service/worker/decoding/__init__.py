"""Continuous batching: all live sequences of a model share each decode step."""
