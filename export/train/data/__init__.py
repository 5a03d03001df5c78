"""The public data sets, read and augmented."""
