"""Scripts that generate parts of the repository."""
