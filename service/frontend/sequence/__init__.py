"""The servicer of sequences: histories in, steps out."""
