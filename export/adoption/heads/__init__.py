"""The heads of adopted graphs, by task: how the outputs answer the task."""
