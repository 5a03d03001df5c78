"""The head of a foreign graph, by task: how its outputs answer the task."""
