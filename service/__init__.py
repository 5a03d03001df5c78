"""The server: supervisor, frontends, workers, and the shared-memory channel between them."""
