"""What the seed document says of its networks, measured: one function for each claim."""
