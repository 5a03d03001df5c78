"""The servicer for sequences: histories in, steps out."""
