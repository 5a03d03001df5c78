"""Networks of one's own, and the demonstration."""
