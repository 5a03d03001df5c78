"""The supervisor: starts, watches and restarts frontends and workers; loads models."""
