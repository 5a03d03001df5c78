"""Training recipes: each turns public data into weights, a report, and a score on held-out data."""
